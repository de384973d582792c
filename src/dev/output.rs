//! What a process writes: passed on byte for byte, and the last lines kept.

use crate::process::output::Lines;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// So many lines are kept: a page of the screen.
const KEPT: usize = 40;
/// How soon a terminal that takes nothing is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// A process has ended, but others that write to the same pipe may have not: so long its last words are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Which of our own streams it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// The last lines of all streams of a process.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    lines: Arc<Mutex<VecDeque<Vec<u8>>>>,
    /// Closed once every stream has ended.
    ended: watch::Receiver<()>,
}

/// Reads streams into one [`Kept`].
#[derive(Debug)]
pub(super) struct Tee {
    lines: Arc<Mutex<VecDeque<Vec<u8>>>>,
    end: watch::Sender<()>,
}

/// The two ends of what streams are read into.
pub(super) fn tee() -> (Tee, Kept) {
    let (end, ended) = watch::channel(());
    let lines = Arc::default();
    (Tee { lines: Arc::clone(&lines), end }, Kept { lines, ended })
}

impl Tee {
    /// Begins to read a pipe, by a thread: a terminal that takes nothing makes the process wait, as it would without us,
    /// and nobody else.
    ///
    /// # Errors
    /// Those of fcntl(2) and clone(2).
    pub(super) fn read(&self, pipe: OwnedFd, to: Stream) -> io::Result<()> {
        nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))?;
        let (lines, end) = (Arc::clone(&self.lines), self.end.clone());
        let read = move || {
            pass_on(File::from(pipe), to, &lines);
            drop(end);
        };
        std::thread::Builder::new().name("output".into()).spawn(read).map(drop)
    }
}

fn pass_on(mut pipe: File, to: Stream, kept: &Mutex<VecDeque<Vec<u8>>>) {
    let (mut lines, mut buffer) = (Lines::default(), [0; 8192]);
    let mut keep = |line: &[u8]| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line.to_vec());
    };
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                write(&buffer[..count], to);
                lines.push(&buffer[..count], &mut keep);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.finish(keep);
}

/// Writes all of it, unless whoever read it has gone: the process serves all the same.
fn write(mut bytes: &[u8], to: Stream) {
    while !bytes.is_empty() {
        let written = match to {
            Stream::Stdout => nix::unistd::write(io::stdout(), bytes),
            Stream::Stderr => nix::unistd::write(io::stderr(), bytes),
        };
        match written {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => std::thread::sleep(RETRY),
            Err(_) => return,
        }
    }
}

impl Kept {
    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The lines once all has been read, or, if that never comes, soon.
    pub(super) async fn last_lines(&mut self) -> Vec<Vec<u8>> {
        // Nothing is ever sent: this ends when the senders are gone.
        let _ = tokio::time::timeout(LAST_WORDS, self.ended.changed()).await;
        self.lines()
    }
}
