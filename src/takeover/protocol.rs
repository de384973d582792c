//! The decisions of the two: what each of the two processes does next, by what it has heard.
//!
//! Pure: no descriptor, no clock, no log, no system call. `docs/forward.md` prints both tables; the tests walk them.
//!
//! Connections can be served by one process alone, so there is one moment at which they change hands: the new process
//! says *taken* before it touches the first of them, and the old one touches none after it has said *commit* unless it
//! knows that *taken* was never said. To know that it ends the new process first.

#![deny(clippy::wildcard_enum_match_arm, reason = "the compiler is the table")]

#[cfg(test)]
mod tests;

/// How far the old process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Old {
    /// It serves, and no restart is under way.
    #[default]
    Serving,
    /// The new process gets ready; everything goes on as before.
    Starting,
    /// Everything has been sent and stands still.
    Offering,
    /// The new process was told to begin.
    Committing,
    /// The new process is ended, since nobody knows whether it has begun; what it has said last decides.
    Ending,
    /// The new process serves; what could not be handed over is left.
    Leaving,
}

/// What the old process hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldHears {
    /// A restart is wanted.
    Asked,
    /// The new process could serve.
    Ready,
    /// It has all descriptors.
    Registered,
    /// It begins.
    Taken,
    /// It cannot.
    Failed,
    /// It has gone, or could not be started.
    Gone,
    /// It said something that it does not say at all.
    Nonsense,
    /// It said nothing for too long.
    Late,
}

/// What the old process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldDoes {
    /// Start the new process and send it the plan.
    Start,
    /// Stop accepting, take all connections out, and send everything.
    Offer,
    /// Tell the new process to begin.
    Commit,
    /// Kill the new process.
    End,
    /// Go on with everything that was taken out.
    PutBack,
    /// Accept again, without the connections: the new process has had its hands on them.
    Reopen,
    /// Answer that it has failed.
    AnswerFailed,
    /// Answer that a restart is under way already.
    Refuse,
    /// Let go of everything that the new process has.
    Leave,
}

impl Old {
    /// What follows.
    pub fn on(&mut self, heard: OldHears) -> &'static [OldDoes] {
        use OldDoes::{AnswerFailed, Commit, End, Leave, Offer, PutBack, Refuse, Reopen, Start};
        use OldHears::{Asked, Failed, Gone, Late, Nonsense, Ready, Registered, Taken};
        let (next, acts): (Old, &'static [OldDoes]) = match (*self, heard) {
            (Old::Serving, Asked) => (Old::Starting, &[Start]),
            (Old::Serving, Ready | Registered | Taken | Failed | Gone | Nonsense | Late) => (Old::Serving, &[]),
            (Old::Starting, Ready) => (Old::Offering, &[Offer]),
            (Old::Starting, Registered | Taken | Failed | Gone | Nonsense | Late) => {
                (Old::Serving, &[End, AnswerFailed])
            }
            (Old::Offering, Registered) => (Old::Committing, &[Commit]),
            (Old::Offering, Ready | Taken | Failed | Gone | Nonsense | Late) => {
                (Old::Serving, &[End, PutBack, AnswerFailed])
            }
            (Old::Committing, Taken) => (Old::Leaving, &[Leave]),
            (Old::Committing, Ready | Registered | Failed | Gone | Nonsense | Late) => (Old::Ending, &[End]),
            (Old::Ending, Taken) => (Old::Serving, &[Reopen, AnswerFailed]),
            (Old::Ending, Ready | Registered | Failed | Gone | Nonsense | Late) => {
                (Old::Serving, &[PutBack, AnswerFailed])
            }
            (Old::Leaving, Ready | Registered | Taken | Failed | Gone | Nonsense | Late) => (Old::Leaving, &[]),
            (stage @ (Old::Starting | Old::Offering | Old::Committing | Old::Ending | Old::Leaving), Asked) => {
                (stage, &[Refuse])
            }
        };
        *self = next;
        acts
    }
}

/// How far the new process has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum New {
    /// It knows nothing yet.
    #[default]
    Rehearsing,
    /// It could serve the plan.
    Waiting,
    /// It has everything, and touches nothing.
    Registered,
    /// It serves.
    Serving,
    /// It goes.
    Ended,
}

/// What the new process hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewHears {
    /// What there is, to be tried.
    Plan,
    /// What there is, with all descriptors.
    Offer,
    /// That it may begin.
    Commit,
    /// Itself: it is not able to.
    Unable,
    /// The old process has gone, says nothing, or something else.
    Lost,
}

/// What the new process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewDoes {
    /// Say that it could serve.
    SayReady,
    /// Say that it has everything.
    SayRegistered,
    /// Say that it begins.
    SayTaken,
    /// Begin.
    Serve,
    /// Say why it cannot.
    SayFailed,
    /// Exit, which closes what came.
    Exit,
}

impl New {
    /// What follows.
    pub fn on(&mut self, heard: NewHears) -> &'static [NewDoes] {
        use NewDoes::{Exit, SayFailed, SayReady, SayRegistered, SayTaken, Serve};
        use NewHears::{Commit, Lost, Offer, Plan, Unable};
        let (next, acts): (New, &'static [NewDoes]) = match (*self, heard) {
            (New::Rehearsing, Plan) => (New::Waiting, &[SayReady]),
            (New::Waiting, Offer) => (New::Registered, &[SayRegistered]),
            (New::Registered, Commit) => (New::Serving, &[SayTaken, Serve]),
            // Whatever becomes of the old process from now on.
            (New::Serving, Plan | Offer | Commit | Unable | Lost) => (New::Serving, &[]),
            (New::Rehearsing | New::Waiting | New::Registered, Unable) => (New::Ended, &[SayFailed, Exit]),
            (New::Rehearsing, Offer | Commit | Lost)
            | (New::Waiting, Plan | Commit | Lost)
            | (New::Registered, Plan | Offer | Lost) => (New::Ended, &[Exit]),
            (New::Ended, Plan | Offer | Commit | Unable | Lost) => (New::Ended, &[]),
        };
        *self = next;
        acts
    }
}
