//! What a pointer of C stands for: a source of connections, and the daemon's own word to end.

use crate::bell::Bell;
use crate::failure::Failure;
use crate::rendezvous::Rendezvous;
use crate::sys::Either;
use socket_protector_client::{Connection, Error, Protector};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A source of connections and what C may ask about it.
#[derive(Debug)]
pub(crate) struct Handle {
    source: Source,
    /// Rung by [`Handle::terminate`].
    bell: Bell,
    /// Somebody has looked for connections since then.
    looked: AtomicBool,
    nonblocking: AtomicBool,
    /// Readable when accepting would not wait. Made when asked for.
    readable: OnceLock<Either>,
    /// The process whose `readable` it is: one that forked shares it until it gets its own.
    readable_of: Mutex<u32>,
    name: CString,
    listener_names: Vec<CString>,
    /// What earlier generations stored, whether it was taken meanwhile or not.
    stored_names: Vec<CString>,
}

#[derive(Debug)]
enum Source {
    Supervisor(Box<Protector>),
    /// The original's.
    Rendezvous(Rendezvous),
}

impl Handle {
    pub(crate) fn open() -> Result<Handle, Failure> {
        let protector = Protector::from_env()?.ok_or(Failure::NoSupervisor)?;
        Handle::new(Source::Supervisor(Box::new(protector)))
    }

    /// What the supervisor passed, or else the original supervisor of this port.
    pub(crate) fn create(port: u16) -> Result<Handle, Failure> {
        match Protector::from_env()? {
            Some(protector) => Handle::new(Source::Supervisor(Box::new(protector))),
            None => Handle::new(Source::Rendezvous(Rendezvous::at(port)?)),
        }
    }

    pub(crate) fn standalone(listener: OwnedFd) -> Result<Handle, Failure> {
        Handle::new(Source::Supervisor(Box::new(Protector::standalone(listener)?)))
    }

    fn new(source: Source) -> Result<Handle, Failure> {
        let bell = Bell::new().map_err(|source| Failure::Wait { source })?;
        let (name, listeners, stored) = match &source {
            Source::Supervisor(protector) => (protector.name(), protector.listener_names(), protector.stored_names()),
            Source::Rendezvous(rendezvous) => (rendezvous.name(), &[][..], Vec::new()),
        };
        // What was in the environment has no zero byte.
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let texts = |all: &[String]| all.iter().map(|name| text(name)).collect();
        let (name, listener_names, stored_names) = (text(name), texts(listeners), texts(&stored));
        Ok(Handle {
            source,
            bell,
            looked: AtomicBool::new(false),
            nonblocking: AtomicBool::new(false),
            readable: OnceLock::new(),
            readable_of: Mutex::new(std::process::id()),
            name,
            listener_names,
            stored_names,
        })
    }

    /// The next connection. One with more state than `room` stays the next one.
    pub(crate) fn accept(&self, room: usize) -> Result<Connection, Failure> {
        loop {
            let bell = self.bell.heard();
            // What is there when the daemon asks to end is looked at once, lest a busy daemon never ends.
            if self.is_terminated() && self.looked.swap(true, Ordering::AcqRel) {
                return Err(Failure::Terminated);
            }
            match self.next(bell, room) {
                Err(Failure::Terminated) if !self.bell.is_rung() => self.bell.hush(),
                other => return other,
            }
        }
    }

    fn next(&self, bell: BorrowedFd<'_>, room: usize) -> Result<Connection, Failure> {
        match &self.source {
            Source::Supervisor(protector) => {
                protector.accept_until(bell, room).map_err(Failure::of_accept)?.ok_or(Failure::Drained)
            }
            Source::Rendezvous(rendezvous) => {
                let nonblocking = self.nonblocking.load(Ordering::Acquire);
                rendezvous.accept(bell, nonblocking).map(|socket| Connection::new(socket, 0))
            }
        }
    }

    /// Async-signal-safe.
    pub(crate) fn terminate(&self) {
        self.bell.ring();
    }

    /// Not before the last connection is taken that was read together with others: nobody else could serve it.
    pub(crate) fn is_terminated(&self) -> bool {
        self.bell.is_rung()
            && match &self.source {
                Source::Supervisor(protector) => protector.queued() == 0,
                Source::Rendezvous(_) => true,
            }
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Failure> {
        if let Source::Supervisor(protector) = &self.source {
            protector.set_nonblocking(nonblocking).map_err(Failure::of_accept)?;
        }
        self.nonblocking.store(nonblocking, Ordering::Release);
        Ok(())
    }

    /// The descriptor for event loops, with the same number after a fork.
    pub(crate) fn readable(&self) -> Result<RawFd, Failure> {
        // One at a time, so that two threads do not both make one.
        let mut of = self.readable_of.lock().unwrap_or_else(PoisonError::into_inner);
        let own = std::process::id();
        let source = match &self.source {
            Source::Supervisor(protector) => protector.try_as_fd()?,
            Source::Rendezvous(rendezvous) => rendezvous.as_fd(),
        };
        let sources = [source, self.bell.heard()];
        let failed = |source| Failure::Wait { source };
        if let Some(readable) = self.readable.get() {
            if *of != own {
                readable.renew(sources).map_err(failed)?;
                *of = own;
            }
            return Ok(readable.as_fd().as_raw_fd());
        }
        let made = Either::of(sources).map_err(failed)?;
        *of = own;
        Ok(self.readable.get_or_init(|| made).as_fd().as_raw_fd())
    }

    pub(crate) fn ready(&self) -> Result<(), Failure> {
        match &self.source {
            Source::Supervisor(protector) => Ok(protector.ready()?),
            // Having connected is the word for it.
            Source::Rendezvous(_) => Ok(()),
        }
    }

    /// Gives a connection back whose descriptor stays the caller's.
    pub(crate) fn give_back(&self, socket: BorrowedFd<'_>, listener: usize, state: &[u8]) -> Result<(), Failure> {
        match &self.source {
            Source::Supervisor(protector) => Ok(protector.give_back_socket(socket, listener, state)?),
            // The original takes nothing back.
            Source::Rendezvous(_) => Err(Error::NoSupervisor.into()),
        }
    }

    pub(crate) fn status(&self, text: &str) -> Result<(), Failure> {
        match &self.source {
            Source::Supervisor(protector) => Ok(protector.status(text)?),
            Source::Rendezvous(_) => Ok(()),
        }
    }

    pub(crate) fn open_connections(&self, count: u32) -> Result<(), Failure> {
        match &self.source {
            Source::Supervisor(protector) => Ok(protector.open_connections(count)?),
            Source::Rendezvous(_) => Ok(()),
        }
    }

    /// Leaves duplicates with the supervisor.
    pub(crate) fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), Failure> {
        match &self.source {
            Source::Supervisor(protector) => Ok(protector.store(name, descriptors)?),
            // The original stores nothing.
            Source::Rendezvous(_) => Err(Error::NoSupervisor.into()),
        }
    }

    pub(crate) fn unstore(&self, name: &str) -> Result<(), Failure> {
        match &self.source {
            Source::Supervisor(protector) => Ok(protector.unstore(name)?),
            Source::Rendezvous(_) => Err(Error::NoSupervisor.into()),
        }
    }

    /// The next descriptor of that name that was not yet taken.
    pub(crate) fn take_stored(&self, name: &str) -> Result<OwnedFd, Failure> {
        let taken = match &self.source {
            Source::Supervisor(protector) => protector.take_next_stored(name),
            Source::Rendezvous(_) => None,
        };
        taken.ok_or(Failure::NothingStored)
    }

    pub(crate) fn stored_names(&self) -> &[CString] {
        &self.stored_names
    }

    pub(crate) fn is_draining(&self) -> bool {
        match &self.source {
            Source::Supervisor(protector) => protector.is_draining(),
            Source::Rendezvous(rendezvous) => rendezvous.is_draining(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        match &self.source {
            Source::Supervisor(protector) => protector.generation(),
            Source::Rendezvous(_) => 0,
        }
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    pub(crate) fn listener_names(&self) -> &[CString] {
        &self.listener_names
    }

    pub(crate) fn listener(&self, index: usize) -> Result<RawFd, Failure> {
        match &self.source {
            Source::Supervisor(protector) => {
                protector.listeners().get(index).map(AsRawFd::as_raw_fd).ok_or(Failure::Argument)
            }
            Source::Rendezvous(_) => Err(Failure::Argument),
        }
    }
}
