//! How the two directions of a connection end: which end of file or reset is passed on, and when.
//!
//! Pure: sockets and bytes are the caller's, who says whether bytes are held. The rules:
//!
//! - An end of file is passed on behind the last byte before it, and the other direction goes on.
//! - A reset is passed on as a reset, behind the last byte that came before it. What was on its way to the side that is
//!   reset can reach nobody and is dropped.
//! - Both directions ended, or both sides reset: the connection is over.
//!
//! | direction | what it means |
//! |---|---|
//! | open | bytes may come |
//! | ended | none comes any more; some may be held |
//! | passed on | the receiver knows that none comes any more |
//! | broken | the receiver is reset: nothing is read for it any more |

/// One end of a relayed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// Whom we connected to.
    Destination,
}

/// A direction in which bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the client to the destination.
    Up,
    /// From the destination to the client.
    Down,
}

impl Side {
    /// The one at the other end.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Destination,
            Side::Destination => Side::Client,
        }
    }

    /// The direction of the bytes that it sends.
    pub fn sends(self) -> Way {
        match self {
            Side::Client => Way::Up,
            Side::Destination => Way::Down,
        }
    }
}

impl Way {
    /// Both.
    pub const BOTH: [Way; 2] = [Way::Up, Way::Down];

    /// Who sends.
    pub fn from(self) -> Side {
        match self {
            Way::Up => Side::Client,
            Way::Down => Side::Destination,
        }
    }

    /// Who receives.
    pub fn to(self) -> Side {
        self.from().other()
    }
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes may come.
    Open,
    /// The sender's end of file was seen, or the last byte of one that is reset; bytes may be held.
    Ended,
    /// The end was passed on.
    PassedOn,
    /// The receiver is reset.
    Broken,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// In this direction nothing more can be read.
    End(Way),
    /// This side's connection was reset, or has failed in any other way; what it sent before may still be read.
    Reset(Side),
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell the receiver of this direction that nothing more comes.
    PassOn(Way),
    /// Reset this side, once it has got all that was written to it, and close the other. The last step.
    Reset(Side),
    /// Close both. The last step.
    Close,
}

/// The ends of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    up: Progress,
    down: Progress,
    client_reset: bool,
    destination_reset: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Flow::resumed(Progress::Open, Progress::Open)
    }
}

impl Flow {
    /// A connection that has come as far elsewhere.
    pub fn resumed(up: Progress, down: Progress) -> Flow {
        Flow { up, down, client_reset: false, destination_reset: false }
    }

    /// How far a direction has come.
    pub fn progress(&self, way: Way) -> Progress {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }

    /// Whether bytes are to be read in this direction, as soon as none are held.
    pub fn reads(&self, way: Way) -> bool {
        self.progress(way) == Progress::Open
    }

    /// Whether bytes that are held in this direction can still reach somebody.
    pub fn delivers(&self, way: Way) -> bool {
        !self.is_reset(way.to())
    }

    /// Whether this side was reset.
    pub fn is_reset(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client_reset,
            Side::Destination => self.destination_reset,
        }
    }

    /// Whether one direction has ended and the other goes on, or what is left of it.
    pub fn is_half_closed(&self) -> bool {
        self.up != Progress::Open || self.down != Progress::Open
    }

    /// Whether this direction was passed on, and the other one before it.
    pub fn is_last(&self, way: Way) -> bool {
        let other = way.to().sends();
        self.progress(way) == Progress::PassedOn && self.progress(other) == Progress::PassedOn
    }

    /// Takes in what has happened.
    pub fn on(&mut self, input: Input) {
        match input {
            Input::End(way) => match self.progress(way) {
                Progress::Open => self.set(way, Progress::Ended),
                Progress::Ended | Progress::PassedOn | Progress::Broken => {}
            },
            Input::Reset(side) => {
                match side {
                    Side::Client => self.client_reset = true,
                    Side::Destination => self.destination_reset = true,
                }
                self.set(side.other().sends(), Progress::Broken);
            }
        }
    }

    /// What is to be done now, if anything; `held` says in which direction bytes are held that were not written yet.
    /// To be asked again after each step but the last.
    pub fn next(&mut self, held: impl Fn(Way) -> bool) -> Option<Step> {
        match (self.client_reset, self.destination_reset) {
            (true, true) => Some(Step::Close),
            (true, false) => self.after_reset(Side::Client, held),
            (false, true) => self.after_reset(Side::Destination, held),
            (false, false) => {
                for way in Way::BOTH {
                    if self.progress(way) == Progress::Ended && !held(way) {
                        self.set(way, Progress::PassedOn);
                        return Some(Step::PassOn(way));
                    }
                }
                (self.up == Progress::PassedOn && self.down == Progress::PassedOn).then_some(Step::Close)
            }
        }
    }

    /// The other side is still there, and gets the reset behind the last byte.
    fn after_reset(&self, reset: Side, held: impl Fn(Way) -> bool) -> Option<Step> {
        let rest = reset.sends();
        match self.progress(rest) {
            Progress::Open => None,
            Progress::Ended | Progress::PassedOn | Progress::Broken => (!held(rest)).then_some(Step::Reset(rest.to())),
        }
    }

    fn set(&mut self, way: Way, progress: Progress) {
        match way {
            Way::Up => self.up = progress,
            Way::Down => self.down = progress,
        }
    }
}

#[cfg(test)]
mod tests;
