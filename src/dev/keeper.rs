//! A process of its own between us and what a generation starts. It is the reaper of all that is below it
//! (prctl(2), PR_SET_CHILD_SUBREAPER), so nothing can leave it: whatever group, session or environment a process has gone to,
//! and whether or not its parents live, it is below its keeper and no other. It ends them when we ask, and when we are gone.
//!
//! Both speak over a socket, the keeper's standard input. It gets the command: how many words, and each with a NUL. Then, a
//! line each, `signal N` and `kill`; end of file, our death, is `kill`. It says `started PID` or `failed STEP ERRNO`, then
//! `exited …` when the first process has, and `gone` when nothing is left.

mod process;
mod word;

use super::family::{self, Family, Mark, Part};
use crate::process::spawn::{self, Launch, Process, SpawnError};
use crate::time::Time;
use log::warn;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

pub use process::run;
pub(super) use word::Word;

/// The word by which a keeper is started; no command of users.
pub const COMMAND: &str = "dev-keeper";
/// The second word: keep all that is below, or no more than the group.
const ALL: &str = "all";
const GROUP: &str = "group";
/// More than any line of a keeper.
const LONGEST_LINE: usize = 100;
/// The shortest time limit of a read: none at all would be no limit.
const SHORTEST: Duration = Duration::from_millis(1);
/// So long it may take until a command runs. That is a matter of milliseconds, unless a disk hangs or somebody has stopped the
/// keeper; all that we do waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a keeper starts.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) part: Part,
    /// What is in its environment, by which is found what a keeper leaves that does not speak.
    pub(super) mark: &'a Mark,
    pub(super) command: &'a [OsString],
    pub(super) environment: &'a [(OsString, OsString)],
    /// Standard output and standard error; ours where there is none.
    pub(super) output: Option<&'a OwnedFd>,
    pub(super) error: &'a OwnedFd,
    pub(super) open_files: Option<(u64, u64)>,
    /// Where it runs: named anew each time, as another directory may be there by now.
    pub(super) directory: &'a Path,
}

/// Our end of a keeper. When it is dropped, the keeper kills what it has.
#[derive(Debug)]
pub(super) struct Keeper {
    words: Lines<BufReader<OwnedReadHalf>>,
    orders: OwnedWriteHalf,
    process: Process,
    leader: Pid,
    part: Part,
}

impl Keeper {
    /// Starts a command below a keeper of its own. Must be called within the runtime; blocks until the command runs, for [`PATIENCE`] at
    /// the most.
    ///
    /// # Errors
    /// Why it cannot run; nothing is left behind.
    pub(super) fn start(start: &Start<'_>) -> Result<Keeper, SpawnError> {
        let program = start.command.first().map(OsString::as_os_str).unwrap_or_default();
        let failed = |source: io::Error| SpawnError::Process { program: program.into(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let kind = match start.part {
            Part::Server(_) => ALL,
            // What a build leaves outside of its group is meant to stay, as a compiler's cache is.
            Part::Build(_) => GROUP,
        };
        let mut descriptors: Vec<(BorrowedFd<'_>, i32)> = vec![(theirs.as_fd(), 0), (start.error.as_fd(), 2)];
        descriptors.extend(start.output.map(|end| (end.as_fd(), 1)));
        let process = spawn::spawn(&Launch {
            command: &["/proc/self/exe".into(), COMMAND.into(), kind.into()],
            environment: start.environment,
            listen_pid: false,
            descriptors: &descriptors,
            directory: Some(start.directory),
            open_files: start.open_files,
            death_signal: None,
            session: false,
        })?;
        drop(theirs);
        let (process, leader) = meet(process, &ours, start, PATIENCE)?;
        let stream = ours.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(ours));
        // An end that is dropped here is the order to kill.
        let (words, orders) = stream.map_err(failed)?.into_split();
        Ok(Keeper { words: BufReader::new(words).lines(), orders, process, leader, part: start.part })
    }

    /// The process.
    pub(super) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The first process that it keeps: the command's own.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// The processes that it keeps.
    pub(super) fn family(&self) -> Family {
        match self.part {
            Part::Server(_) => Family::below(self.process.pid()),
            Part::Build(_) => Family::group(self.leader),
        }
    }

    /// What it says next; nothing more once it is gone.
    pub(super) async fn next(&mut self) -> Option<Word> {
        Word::parse(&self.words.next_line().await.ok()??)
    }

    /// Has a signal sent to all processes.
    pub(super) async fn signal(&mut self, signal: Signal) {
        // One that is gone has nothing left to send it to.
        let _ = self.orders.write_all(format!("signal {}\n", signal as i32).as_bytes()).await;
    }

    /// Has all processes killed, until none is left.
    pub(super) async fn kill(&mut self) {
        let _ = self.orders.write_all(b"kill\n").await;
    }

    /// Frees its pid once it has ended.
    pub(super) async fn reap(self) {
        drop((self.words, self.orders));
        let _ = tokio::task::spawn_blocking(move || self.process.reap()).await;
    }
}

/// Tells a keeper its command and waits until that runs. One from which that is not heard in time is killed, with all that it has
/// started.
fn meet(
    process: Process,
    ours: &UnixStream,
    start: &Start<'_>,
    patience: Duration,
) -> Result<(Process, Pid), SpawnError> {
    let program = start.command.first().map(OsString::as_os_str).unwrap_or_default();
    let failed = |source: io::Error| SpawnError::Process { program: program.into(), source };
    let deadline = Instant::now() + patience;
    let error = match tell_command(ours, start.command, patience).and_then(|()| first_word(ours, deadline)) {
        Ok(Word::Started(leader)) => return Ok((process, leader)),
        Ok(Word::Failed(step, errno)) => {
            // It has started nothing, and ends by itself.
            process.reap();
            return Err(step.error(program, errno));
        }
        Ok(_) => io::ErrorKind::InvalidData.into(),
        Err(error) if is_late(&error) => late(patience),
        Err(error) => error,
    };
    clear_away(process, start.mark, start.part);
    Err(failed(error))
}

/// Kills a keeper that does not speak as it should, and what it may have started. What hangs may not even be killed at once, and
/// is not waited for here.
fn clear_away(process: Process, mark: &Mark, part: Part) {
    spawn::signal_leader(&process, Signal::SIGKILL);
    let (all, pid) = (mark.clone(), process.pid());
    let clear = move || {
        // What it starts until it is gone is found after that.
        process.reap();
        while family::kill_carriers(&all, part) {
            std::thread::sleep(family::LOOK);
        }
    };
    if let Err(error) = std::thread::Builder::new().spawn(clear) {
        // It is reaped with others that nobody waits for; see family::reap_others.
        family::kill_carriers(mark, part);
        warn!("cannot start a thread that waits for the end of pid {pid}: {error}");
    }
}

/// What the sockets' own time limits say; see socket(7), SO_RCVTIMEO.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn late(patience: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("its keeper has said nothing for {}", Time::of(patience)))
}

fn tell_command(mut stream: &UnixStream, command: &[OsString], patience: Duration) -> io::Result<()> {
    let mut bytes = format!("{}\n", command.len()).into_bytes();
    for word in command {
        bytes.extend_from_slice(OsStr::as_bytes(word));
        bytes.push(0);
    }
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&bytes)
}

/// The first line, and not a byte more. What is there already is read even if we have been stopped beyond the deadline; only who
/// would have to wait then is late.
fn first_word(mut stream: &UnixStream, deadline: Instant) -> io::Result<Word> {
    let (mut line, mut byte) = (String::new(), [0]);
    while line.len() < LONGEST_LINE {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(SHORTEST)))?;
        stream.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        line.push(byte[0].into());
    }
    Word::parse(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::{Start, Word, first_word, is_late, meet};
    use crate::dev::family::{Mark, Part, carriers};
    use crate::dev::gate::Generation;
    use crate::process::spawn::{self, Launch};
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    use std::ffi::OsString;
    use std::io::{ErrorKind, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::{Duration, Instant};

    const PART: Part = Part::Server(Generation(1));

    /// What does not speak, in a keeper's place, and an error of the start of this command by it.
    fn meet_mute(mute: &[&str], mark: &Mark, command: &[OsString], before: impl FnOnce()) -> (Pid, String) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let process = spawn::spawn(&Launch {
            command: &mute.iter().map(OsString::from).collect::<Vec<_>>(),
            environment: &[mark.variable(PART)],
            listen_pid: false,
            descriptors: &[(theirs.as_fd(), 0)],
            directory: None,
            open_files: None,
            death_signal: None,
            session: false,
        });
        let process = process.unwrap();
        let pid = process.pid();
        before();
        let start = Start {
            part: PART,
            mark,
            command,
            environment: &[],
            output: None,
            error: &theirs.into(),
            open_files: None,
            directory: Path::new("/"),
        };
        (pid, crate::chain(&meet(process, &ours, &start, Duration::from_millis(20)).unwrap_err()))
    }

    fn eventually(what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_keeper_that_says_nothing_is_killed_and_the_start_has_failed() {
        let server = [OsString::from("server"), "x".repeat(4 * 1024 * 1024).into()];
        for command in [&server[..1], &server] {
            let (pid, text) = meet_mute(&["sleep", "1000"], &Mark::new(), command, || {});
            assert!(text.contains("server") && text.contains("has said nothing for 20ms"), "{text}");
            eventually("it is killed and reaped", || kill(pid, None) == Err(Errno::ESRCH));
        }
    }

    #[test]
    fn what_a_keeper_has_started_that_says_nothing_is_killed_too() {
        let mark = Mark::new();
        let begun = || eventually("both run", || carriers(&mark, PART).len() == 2);
        meet_mute(&["sh", "-c", "sleep 1000 & wait"], &mark, &["server".into()], begun);
        eventually("nothing is left", || carriers(&mark, PART).is_empty());
    }

    #[test]
    fn the_first_word_comes_in_time_or_not_at_all() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let soon = || Instant::now() + Duration::from_secs(60);
        theirs.write_all(b"started 7\nexited status 0\n").unwrap();
        assert_eq!(first_word(&ours, soon()).unwrap(), Word::Started(Pid::from_raw(7)));
        assert!(
            matches!(first_word(&ours, Instant::now()).unwrap(), Word::Exited(_)),
            "it is there, though it is late"
        );
        assert!(is_late(&first_word(&ours, Instant::now()).unwrap_err()));
        theirs.write_all(b"star").unwrap();
        let kind = first_word(&ours, Instant::now() + Duration::from_millis(20)).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::WouldBlock, "the rest does not come");
        drop(theirs);
        assert_eq!(first_word(&ours, soon()).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
