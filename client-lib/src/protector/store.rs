//! Descriptors that outlive this process: what earlier generations stored, and what is stored for later ones.

use super::Protector;
use super::tell::{PATIENCE, send_patiently, timed_out};
use crate::error::Error;
use crate::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Instant;

/// The longest name.
const LONGEST_NAME: usize = 255;

impl Protector {
    /// The names of the descriptors that earlier generations stored and that were not taken yet, in the order in which
    /// they were stored.
    pub fn stored_names(&self) -> Vec<String> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Takes the descriptors that earlier generations stored under this name; they are close-on-exec. What is taken
    /// stays stored, for the case that this process dies, until it is [removed](Protector::unstore).
    pub fn take_stored(&self, name: &str) -> Vec<OwnedFd> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.extract_if(.., |(known, _)| known == name).map(|(_, descriptor)| descriptor).collect()
    }

    /// One of what [`take_stored`](Protector::take_stored) takes, in the same order.
    #[doc(hidden)]
    pub fn take_next_stored(&self, name: &str) -> Option<OwnedFd> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let place = stored.iter().position(|(known, _)| known == name)?;
        Some(stored.remove(place).1)
    }

    /// Leaves duplicates of up to [`MAX_DESCRIPTORS`](crate::descriptors::MAX_DESCRIPTORS) descriptors with the
    /// supervisor, for this name: sockets, pipes, files, memory. They come to every generation that starts from now on,
    /// also after a crash of this one, until they are removed. What hangs up is dropped before that.
    ///
    /// Waits until the supervisor has dealt with it, which takes no longer than ten seconds. It keeps a limited number;
    /// what is beyond that it tells in its log.
    ///
    /// The name is ASCII without control characters and colons, of 1 to 255 characters.
    pub fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        self.word_to_store(name)?.say(descriptors)
    }

    /// Removes what is stored under this name. What was taken of it is not closed by that.
    ///
    /// Waits as [`store`](Protector::store).
    pub fn unstore(&self, name: &str) -> Result<(), Error> {
        self.word_to_unstore(name)?.say(&[])
    }

    pub(crate) fn word_to_store(&self, name: &str) -> Result<Word, Error> {
        self.word(format!("FDSTORE=1\nFDNAME={}", checked(name)?))
    }

    pub(crate) fn word_to_unstore(&self, name: &str) -> Result<Word, Error> {
        self.word(format!("FDSTOREREMOVE=1\nFDNAME={}", checked(name)?))
    }

    fn word(&self, text: String) -> Result<Word, Error> {
        Ok(Word { path: self.notify.clone().ok_or(Error::NoSupervisor)?, text })
    }
}

/// Something to be said by sd_notify(3).
#[derive(Debug)]
pub(crate) struct Word {
    path: PathBuf,
    text: String,
}

impl Word {
    /// Says it, then waits at a barrier.
    pub(crate) fn say(&self, descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let say = || -> io::Result<()> {
            let socket = UnixDatagram::unbound()?;
            socket.connect(&self.path)?;
            send_patiently(socket.as_fd(), self.text.as_bytes(), descriptors)?;
            let (ours, theirs) = io::pipe()?;
            send_patiently(socket.as_fd(), b"BARRIER=1", &[theirs.as_fd()])?;
            drop(theirs);
            wait_for_end(ours.as_fd())
        };
        say().map_err(failed)
    }
}

pub(crate) fn failed(source: io::Error) -> Error {
    Error::Send { record: "a word about stored descriptors", source }
}

fn wait_for_end(pipe: BorrowedFd<'_>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut watched = [sys::watch(pipe)];
        match sys::poll(&mut watched, left.as_millis() as i32) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            // The end is all that there ever is to be read.
            Ok(()) if watched[0].revents != 0 => return Ok(()),
            Ok(()) | Err(_) if left.is_zero() => return Err(timed_out()),
            Ok(()) | Err(_) => {}
        }
    }
}

fn checked(name: &str) -> Result<&str, Error> {
    let fits = |byte: u8| byte.is_ascii() && !byte.is_ascii_control() && byte != b':';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
        return Err(Error::StoredName { name: name.to_owned() });
    }
    Ok(name)
}
