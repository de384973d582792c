//! The terminal that we were started at.

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How it treats keys and bytes (termios(3)). A server may change that, and is not asked when it ends; so what was found is put
/// back when this is dropped.
#[derive(Debug)]
pub(super) struct Modes(Option<(OwnedFd, Termios)>);

impl Modes {
    /// Remembers them, if there is a terminal at one of the standard descriptors.
    pub(super) fn remember() -> Modes {
        let (input, error, output) = (io::stdin(), io::stderr(), io::stdout());
        let ends: [(bool, BorrowedFd<'_>); 3] = [
            (input.is_terminal(), input.as_fd()),
            (error.is_terminal(), error.as_fd()),
            (output.is_terminal(), output.as_fd()),
        ];
        let terminal = ends.into_iter().find(|(is_terminal, _)| *is_terminal);
        let owned = terminal.and_then(|(_, end)| end.try_clone_to_owned().ok());
        Modes(owned.and_then(|end| tcgetattr(&end).ok().map(|modes| (end, modes))))
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        let Some((terminal, found)) = &self.0 else { return };
        // In the background it is another's, and whoever sets it all the same is stopped.
        let is_ours = tcgetpgrp(terminal) == Ok(getpgrp());
        if is_ours && tcgetattr(terminal).is_ok_and(|now| now != *found) {
            // One that was closed has no modes any more.
            let _ = tcsetattr(terminal, SetArg::TCSANOW, found);
        }
    }
}
