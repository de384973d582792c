//! How it stands, for those who look on.

use super::{Gate, Generation, Phase, State};

impl Gate {
    /// How it stands.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Building { .. } => Phase::Building,
            State::Starting { .. } => Phase::Starting,
            State::Up => Phase::Up,
            State::Failed => Phase::Failed,
            State::Stopping { .. } | State::Ending { .. } => Phase::Stopping,
        }
    }

    /// The server that answers at present.
    pub fn serving(&self) -> Option<Generation> {
        match self.state {
            State::Up => self.server,
            State::Building { .. } | State::Starting { .. } | State::Stopping { .. } if self.policy.overlap => {
                self.server
            }
            State::Building { .. }
            | State::Starting { .. }
            | State::Stopping { .. }
            | State::Failed
            | State::Ending { .. } => None,
        }
    }

    /// Whether the last change has failed; an older server may answer all the same.
    pub fn has_failed(&self) -> bool {
        self.fault
    }

    /// How many requests wait.
    pub fn held(&self) -> usize {
        self.requests.held()
    }

    /// How many requests servers have.
    pub fn in_progress(&self) -> usize {
        self.requests.in_progress()
    }

    /// The generation that is being built or started.
    pub fn next(&self) -> Option<Generation> {
        match self.state {
            State::Building { next } | State::Starting { next, .. } => Some(next),
            State::Up | State::Failed | State::Stopping { .. } | State::Ending { .. } => None,
        }
    }

    /// Whether a server runs that could answer and gets no requests.
    pub fn is_parked(&self, generation: Generation) -> bool {
        self.server == Some(generation) && self.serving().is_none()
    }

    /// Whether a generation finishes its requests, which are to be told of by [`Input::Bound`](super::Input::Bound).
    pub fn finishes(&self) -> bool {
        self.leaving.keys().any(|generation| self.is_finishing(*generation))
    }

    /// Whether we are to end.
    pub fn ends(&self) -> bool {
        matches!(self.state, State::Ending { .. })
    }
}
