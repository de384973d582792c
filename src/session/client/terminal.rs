//! The terminal that somebody types at: how it treats keys, its size, and that it is given back as it was.

use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// How keys are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typing {
    /// As the terminal was found: lines, shown and edited by the terminal.
    Lines,
    /// The same, and not shown.
    HiddenLines,
    /// Key by key and not shown; those that are signals are signals.
    Keys,
    /// Key by key, with nothing done to them or to the output.
    Raw,
}

/// The terminal at standard input. It is as it was when this is dropped.
#[derive(Debug)]
pub(super) struct Terminal {
    file: File,
    found: Termios,
    typing: Typing,
}

impl Terminal {
    /// That at standard input, if it is one.
    pub(super) fn of_standard_input() -> Option<Terminal> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let file = File::from(stdin.as_fd().try_clone_to_owned().ok()?);
        let found = tcgetattr(&file).ok()?;
        Some(Terminal { file, found, typing: Typing::Lines })
    }

    /// How keys are treated from now on.
    ///
    /// # Errors
    /// Those of tcsetattr(3).
    pub(super) fn set(&mut self, typing: Typing) -> io::Result<()> {
        if typing != self.typing {
            self.typing = typing;
            self.apply()?;
        }
        Ok(())
    }

    /// Whether lines have to be ended by CR LF.
    pub(super) fn is_raw(&self) -> bool {
        self.typing == Typing::Raw
    }

    /// Again what was set, after others had the terminal.
    ///
    /// # Errors
    /// Those of tcsetattr(3).
    pub(super) fn apply(&self) -> io::Result<()> {
        let mut wanted = self.found.clone();
        match self.typing {
            Typing::Lines => {}
            Typing::HiddenLines => wanted.local_flags.remove(LocalFlags::ECHO),
            Typing::Keys => {
                wanted.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::IEXTEN);
                wanted.input_flags.remove(InputFlags::IXON);
                one_key_at_a_time(&mut wanted);
            }
            Typing::Raw => {
                cfmakeraw(&mut wanted);
                one_key_at_a_time(&mut wanted);
            }
        }
        // Not later: a terminal that takes no output at the moment would hold us up.
        Ok(tcsetattr(&self.file, SetArg::TCSANOW, &wanted)?)
    }

    /// As it was found, without forgetting what is wanted of it.
    fn give_back(&self) {
        if self.typing != Typing::Lines {
            // Fails when the terminal has gone, and then there is nothing to be given back.
            let _ = tcsetattr(&self.file, SetArg::TCSANOW, &self.found);
        }
    }

    /// Gives the terminal back and stops this process; what was set is set again when it goes on.
    ///
    /// # Errors
    /// Those of kill(2) and tcsetattr(3).
    pub(super) fn stop(&self) -> io::Result<()> {
        self.give_back();
        raise(Signal::SIGSTOP)?;
        self.apply()
    }

    /// Shows something to whoever types. A terminal that has gone shows it to nobody.
    pub(super) fn show(&self, bytes: &[u8]) {
        let _ = (&self.file).write_all(bytes);
    }

    /// Columns and rows, if it has any.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        crate::sys::window_size(self.file.as_fd()).ok().filter(|(columns, rows)| *columns > 0 && *rows > 0)
    }
}

fn one_key_at_a_time(wanted: &mut Termios) {
    wanted.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    wanted.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}
