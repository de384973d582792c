//! The negotiation of options by the Q method of RFC 1143, which cannot loop: a word is sent only where a state
//! changes, or to refuse what was asked for. Pure.

use super::option::{Known, Side};

/// Where the negotiation of one side of an option is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Off.
    #[default]
    No,
    /// On.
    Yes,
    /// We have asked for off.
    WantNo,
    /// We have asked for off, and want it on after that.
    WantNoOpposite,
    /// We have asked for on.
    WantYes,
    /// We have asked for on, and want it off after that.
    WantYesOpposite,
}

/// What follows: the next state, and what we say, on or off, if anything.
type Step = (State, Option<bool>);

impl State {
    /// The destination says on (WILL, DO) or off (WONT, DONT); `agreed`: whether we want it on, if it does.
    pub fn hears(self, on: bool, agreed: bool) -> Step {
        match (self, on) {
            (State::No, true) if agreed => (State::Yes, Some(true)),
            (State::No, true) => (State::No, Some(false)),
            (State::Yes, true) => (State::Yes, None),
            // It answers "off" with "on", which nobody may. What we wanted last holds, without another word.
            (State::WantNo, true) => (State::No, None),
            (State::WantNoOpposite | State::WantYes, true) => (State::Yes, None),
            (State::WantYesOpposite, true) => (State::WantNo, Some(false)),
            (State::Yes, false) => (State::No, Some(false)),
            (State::WantNoOpposite, false) => (State::WantYes, Some(true)),
            (State::No | State::WantNo | State::WantYes | State::WantYesOpposite, false) => (State::No, None),
        }
    }

    /// Whether the option is in force. Ours ends when we say so; the destination's with its answer, since what it
    /// has sent before that was said under the option.
    pub fn is_on(self, side: Side) -> bool {
        match self {
            State::Yes => true,
            State::WantNo | State::WantNoOpposite => side == Side::Theirs,
            State::No | State::WantYes | State::WantYesOpposite => false,
        }
    }

    /// We want it on or off.
    pub fn wants(self, on: bool) -> Step {
        match (self, on) {
            (State::No, true) => (State::WantYes, Some(true)),
            (State::Yes, false) => (State::WantNo, Some(false)),
            // One question at a time: what is wanted next waits for the answer.
            (State::WantNo, true) => (State::WantNoOpposite, None),
            (State::WantNoOpposite, false) => (State::WantNo, None),
            (State::WantYes, false) => (State::WantYesOpposite, None),
            (State::WantYesOpposite, true) => (State::WantYes, None),
            (State::Yes | State::WantYes | State::WantNoOpposite, true) => (self, None),
            (State::No | State::WantNo | State::WantYesOpposite, false) => (self, None),
        }
    }
}

/// What came of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to say: on or off.
    pub say: Option<bool>,
    /// What it has become, if that has changed: on or off.
    pub became: Option<bool>,
}

/// Both sides of all options that we know.
#[derive(Clone, Debug, Default)]
pub struct Negotiation {
    pub(super) ours: [State; Known::ALL.len()],
    pub(super) theirs: [State; Known::ALL.len()],
}

impl Negotiation {
    /// Whether an option is in force.
    pub fn is_on(&self, side: Side, known: Known) -> bool {
        self.state(side, known).is_on(side)
    }

    /// Where one side of an option is.
    pub fn state(&self, side: Side, known: Known) -> State {
        match side {
            Side::Ours => self.ours[known as usize],
            Side::Theirs => self.theirs[known as usize],
        }
    }

    /// The destination says on or off.
    pub fn hears(&mut self, side: Side, known: Known, on: bool) -> Outcome {
        let step = self.state(side, known).hears(on, known.agreed(side));
        self.step(side, known, step)
    }

    /// We want it on or off.
    pub fn wants(&mut self, side: Side, known: Known, on: bool) -> Outcome {
        let step = self.state(side, known).wants(on);
        self.step(side, known, step)
    }

    fn step(&mut self, side: Side, known: Known, (next, say): Step) -> Outcome {
        let state = match side {
            Side::Ours => &mut self.ours[known as usize],
            Side::Theirs => &mut self.theirs[known as usize],
        };
        let (before, after) = (state.is_on(side), next.is_on(side));
        *state = next;
        Outcome { say, became: (before != after).then_some(after) }
    }
}
