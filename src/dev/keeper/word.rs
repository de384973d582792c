//! What a keeper says.

use crate::process::spawn::{Exit, SpawnError};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fmt;
use std::io;

/// One line of a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dev) enum Word {
    /// The command runs; its first process.
    Started(Pid),
    /// It does not.
    Failed(Step, i32),
    /// The first process has ended.
    Exited(Exit),
    /// Nothing is left.
    Gone,
}

/// What of a start has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dev) enum Step {
    Find,
    Execute,
    Other,
}

impl Step {
    pub(super) fn of(error: &SpawnError) -> (Step, i32) {
        let (step, source) = match error {
            SpawnError::NotFound { source, .. } => (Step::Find, source),
            SpawnError::NotExecutable { source, .. } => (Step::Execute, source),
            SpawnError::Process { source, .. } | SpawnError::Directory { source, .. } => (Step::Other, source),
            SpawnError::Nul { .. } => return (Step::Other, Errno::EINVAL as i32),
        };
        (step, source.raw_os_error().unwrap_or(Errno::EIO as i32))
    }

    pub(super) fn error(self, program: &OsStr, errno: i32) -> SpawnError {
        let (program, source) = (program.into(), io::Error::from_raw_os_error(errno));
        match self {
            Step::Find => SpawnError::NotFound { program, source },
            Step::Execute => SpawnError::NotExecutable { program, source },
            Step::Other => SpawnError::Process { program, source },
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Started(pid) => write!(f, "started {pid}"),
            Word::Failed(Step::Find, errno) => write!(f, "failed find {errno}"),
            Word::Failed(Step::Execute, errno) => write!(f, "failed execute {errno}"),
            Word::Failed(Step::Other, errno) => write!(f, "failed other {errno}"),
            Word::Exited(Exit::Status(status)) => write!(f, "exited status {status}"),
            Word::Exited(Exit::Signal(signal)) => write!(f, "exited signal {}", *signal as i32),
            Word::Exited(Exit::UnnamedSignal) => write!(f, "exited signal 0"),
            Word::Gone => f.write_str("gone"),
        }
    }
}

impl Word {
    pub(super) fn parse(line: &str) -> Option<Word> {
        let words: Vec<_> = line.split(' ').collect();
        let number = words.last()?.parse::<i32>().ok();
        match (words.as_slice(), number) {
            (["started", _], Some(pid)) if pid > 1 => Some(Word::Started(Pid::from_raw(pid))),
            (["failed", "find", _], Some(errno)) => Some(Word::Failed(Step::Find, errno)),
            (["failed", "execute", _], Some(errno)) => Some(Word::Failed(Step::Execute, errno)),
            (["failed", "other", _], Some(errno)) => Some(Word::Failed(Step::Other, errno)),
            (["exited", "status", _], Some(status)) => Some(Word::Exited(Exit::Status(status))),
            (["exited", "signal", _], Some(signal)) => {
                Some(Word::Exited(Signal::try_from(signal).map_or(Exit::UnnamedSignal, Exit::Signal)))
            }
            (["gone"], None) => Some(Word::Gone),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, Word};
    use crate::process::spawn::Exit;
    use nix::errno::Errno;
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    #[test]
    fn every_word_is_read_as_it_was_said() {
        for word in [
            Word::Started(Pid::from_raw(12)),
            Word::Failed(Step::Find, 2),
            Word::Failed(Step::Execute, 13),
            Word::Failed(Step::Other, 11),
            Word::Exited(Exit::Status(3)),
            Word::Exited(Exit::Signal(Signal::SIGKILL)),
            Word::Exited(Exit::UnnamedSignal),
            Word::Gone,
        ] {
            assert_eq!(Word::parse(&word.to_string()), Some(word));
        }
        for line in ["", "started", "started 1", "started -5", "failed 3", "exited", "gone 1", "exited status x"] {
            assert_eq!(Word::parse(line), None, "{line}");
        }
    }

    #[test]
    fn an_error_of_a_start_survives_the_way() {
        for (step, errno) in [(Step::Find, Errno::ENOENT), (Step::Execute, Errno::EACCES), (Step::Other, Errno::EAGAIN)]
        {
            let error = step.error("server".as_ref(), errno as i32);
            assert_eq!(Step::of(&error), (step, errno as i32));
            assert!(crate::chain(&error).contains("server"));
        }
    }
}
