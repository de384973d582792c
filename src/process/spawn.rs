//! Starting one child with exactly the descriptors, environment and surroundings that it shall have.

use crate::sys::{self, ChildSteps, Step};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

const LISTEN_PID: &CStr = c"LISTEN_PID";
/// Where commands are looked for when the environment has no PATH; as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What is started, and how.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The command and its arguments, at least one word. A command without a slash is looked for in PATH, now.
    pub command: &'a [OsString],
    /// The whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// Whether LISTEN_PID is to be added: only the child itself can know it.
    pub listen_pid: bool,
    /// Which descriptors the child gets under which numbers. It gets no other but standard ones of ours not named.
    pub descriptors: &'a [(BorrowedFd<'a>, RawFd)],
    /// The working directory.
    pub directory: Option<&'a Path>,
    /// The soft and hard limit of open files.
    pub open_files: Option<(u64, u64)>,
    /// The signal that the child gets when we die.
    pub death_signal: Option<Signal>,
    /// Whether it leads a session of its own, which has no terminal (setsid(2)); else it leads a process group in ours.
    pub session: bool,
}

/// Why a child could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such command.
    #[error("cannot find {}", .program.display())]
    NotFound {
        /// The command.
        program: PathBuf,
        /// ENOENT.
        source: io::Error,
    },
    /// The command is there, but cannot be executed.
    #[error("cannot execute {}", .program.display())]
    NotExecutable {
        /// The command.
        program: PathBuf,
        /// What execve(2) said.
        source: io::Error,
    },
    /// No process could be made.
    #[error("cannot start a process for {}", .program.display())]
    Process {
        /// The command.
        program: PathBuf,
        /// What clone(2) or a step before the program said.
        source: io::Error,
    },
    /// The working directory is there, but cannot be gone to.
    #[error("cannot change to the directory {}", .directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What chdir(2) said.
        source: io::Error,
    },
    /// A word that no program can be given.
    #[error("cannot pass {word:?} to a program")]
    Nul {
        /// The word.
        word: OsString,
        /// Says where the NUL is.
        source: std::ffi::NulError,
    },
}

/// A child that has been started. Its pid stays its own until [`Process::reap`].
#[derive(Debug)]
pub struct Process {
    pid: Pid,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(Signal),
    /// By a signal without a name.
    UnnamedSignal,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "exited with status {status}"),
            Exit::Signal(signal) => write!(f, "was ended by {signal}"),
            Exit::UnnamedSignal => f.write_str("was ended by a real-time signal"),
        }
    }
}

impl Process {
    /// Its pid, and the number of its process group.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A descriptor that becomes readable when it exits.
    ///
    /// # Errors
    /// Those of pidfd_open(2).
    pub fn exit_descriptor(&self) -> io::Result<OwnedFd> {
        sys::pidfd_open(self.pid)
    }

    /// How it ended, when it has; it is not reaped by this.
    pub fn exit(&self) -> Option<Exit> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            return match waitid(Id::Pid(self.pid), flags) {
                Ok(WaitStatus::Exited(_, status)) => Some(Exit::Status(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(Exit::Signal(signal)),
                Ok(_) => None,
                Err(Errno::EINTR) => continue,
                Err(_) => Some(Exit::UnnamedSignal),
            };
        }
    }

    /// Waits for its end and frees its pid.
    pub fn reap(self) {
        while waitpid(self.pid, None) == Err(Errno::EINTR) {}
    }
}

/// Starts a child.
///
/// # Errors
/// What went wrong, with the command's name; nothing is left behind.
pub fn spawn(launch: &Launch<'_>) -> Result<Process, SpawnError> {
    let program = launch.command.first().map(OsString::as_os_str).unwrap_or_default();
    let arguments = launch.command.iter().map(|word| c_string(word)).collect::<Result<Vec<_>, _>>()?;
    let variables = launch
        .environment
        .iter()
        .map(|(name, value)| c_string(&[name.as_os_str(), value.as_os_str()].join(OsStr::new("="))))
        .collect::<Result<Vec<_>, _>>()?;
    let candidates = candidates(program, launch.environment)?;
    let directory = launch.directory.map(|path| c_string(path.as_os_str())).transpose()?;

    let moved = Moved::out_of_the_way(launch.descriptors)
        .map_err(|source| SpawnError::Process { program: program.into(), source })?;
    let steps = ChildSteps {
        candidates: &borrowed(&candidates),
        arguments: &borrowed(&arguments),
        environment: &borrowed(&variables),
        pid_variable: launch.listen_pid.then_some(LISTEN_PID),
        descriptors: &moved.pairs,
        directory: directory.as_deref(),
        open_files: launch.open_files,
        death_signal: launch.death_signal.map_or(0, |signal| signal as i32),
        session: launch.session,
    };
    let pid = sys::spawn(&steps).map_err(|(step, errno)| failure(launch, step, errno, &candidates))?;
    Ok(Process { pid })
}

fn failure(launch: &Launch<'_>, step: Step, errno: Errno, candidates: &[CString]) -> SpawnError {
    let source = io::Error::from(errno);
    let program = launch.command.first().map(PathBuf::from).unwrap_or_default();
    let exists = || candidates.iter().any(|path| Path::new(OsStr::from_bytes(path.as_bytes())).exists());
    match step {
        Step::Fork | Step::Prepare => SpawnError::Process { program, source },
        Step::Directory => {
            SpawnError::Directory { directory: launch.directory.map(Path::to_owned).unwrap_or_default(), source }
        }
        // A script whose interpreter is missing is there, and so is a program whose loader is.
        Step::Execute if errno == Errno::ENOENT && !exists() => SpawnError::NotFound { program, source },
        Step::Execute => SpawnError::NotExecutable { program, source },
    }
}

/// The paths at which a command may be, in the order of PATH.
fn candidates(program: &OsStr, environment: &[(OsString, OsString)]) -> Result<Vec<CString>, SpawnError> {
    if program.as_bytes().contains(&b'/') || program.is_empty() {
        return Ok(vec![c_string(program)?]);
    }
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        .map(|directory| c_string(directory.join(program).as_os_str()))
        .collect()
}

fn c_string(word: &OsStr) -> Result<CString, SpawnError> {
    CString::new(word.as_bytes())
        .map_err(|source| SpawnError::Nul { word: OsString::from_vec(word.as_bytes().into()), source })
}

fn borrowed(words: &[CString]) -> Vec<&CStr> {
    words.iter().map(CString::as_c_str).collect()
}

/// Descriptors whose numbers are no target of the child's, so that placing one cannot overwrite another.
struct Moved {
    pairs: Vec<(RawFd, RawFd)>,
    _owned: Vec<OwnedFd>,
}

impl Moved {
    fn out_of_the_way(wanted: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<Moved> {
        let above = wanted.iter().map(|(_, target)| target + 1).max().unwrap_or(0);
        let mut moved = Moved { pairs: Vec::with_capacity(wanted.len()), _owned: Vec::new() };
        for &(source, target) in wanted {
            let mut number = source.as_raw_fd();
            if number < above {
                let duplicate = sys::duplicate_above(source, above)?;
                number = duplicate.as_raw_fd();
                moved._owned.push(duplicate);
            }
            moved.pairs.push((number, target));
        }
        Ok(moved)
    }
}

/// Sends a signal to the leader alone. It must not be reaped yet.
pub fn signal_leader(process: &Process, signal: Signal) {
    // ESRCH cannot be: the leader is at least a zombie of ours.
    let _ = nix::sys::signal::kill(process.pid, signal);
}

/// Sends a signal to the whole process group. The leader must not be reaped yet.
pub fn signal_group(process: &Process, signal: Signal) {
    let _ = nix::sys::signal::killpg(process.pid, signal);
}

/// The null device, for a standard descriptor that shall lead nowhere.
///
/// # Errors
/// Those of open(2).
pub fn null_device() -> io::Result<OwnedFd> {
    Ok(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into())
}

#[cfg(test)]
mod tests;
