//! The socket at which the children speak sd_notify(3).

pub mod message;
pub mod store;

use super::Source;
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use message::{LONGEST, Message};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;
use socket_protector_client::descriptors::{self, Sender};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use store::Given;

/// The name of the socket in the children's directory.
pub const NOTIFY: &str = "notify";

/// Why there is no socket for the children's words.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the children's socket {}", .path.display())]
pub struct NotifyError {
    path: PathBuf,
    source: io::Error,
}

/// The socket, in a directory of the children's own, which goes with it.
#[derive(Debug)]
pub struct NotifyServer {
    socket: Registered<Descriptor<UnixDatagram>>,
    directory: PathBuf,
    buffer: Box<[u8; LONGEST + 1]>,
}

/// A word with who said it and what came along.
#[derive(Debug)]
pub struct Received {
    /// Who.
    pub sender: Sender,
    /// What.
    pub message: Message,
    /// Descriptors that came along; they are closed with this.
    pub descriptors: Vec<Given>,
}

/// The path of the socket of an instance whose control socket is at `control`.
pub fn socket_path(control: &Path) -> PathBuf {
    control.with_extension("child").join(NOTIFY)
}

impl NotifyServer {
    /// Listens beside the control socket; what is found there is left over, since the instance's lock is held.
    ///
    /// # Errors
    /// The path and what the system said.
    pub fn open(reactor: &mut Reactor<Source>, control: &Path) -> Result<Self, NotifyError> {
        let path = socket_path(control);
        let directory = control.with_extension("child");
        let mut open = || -> io::Result<Registered<Descriptor<UnixDatagram>>> {
            make_directory(&directory)?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let before = umask(Mode::from_bits_truncate(0o177));
            let socket = UnixDatagram::bind(&path);
            umask(before);
            let socket = socket?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::PassCred, &true)?;
            reactor.register(Descriptor(socket), Source::Notify, READABLE)
        };
        match open() {
            Ok(socket) => Ok(NotifyServer { socket, directory, buffer: Box::new([0; LONGEST + 1]) }),
            Err(source) => Err(NotifyError { path, source }),
        }
    }

    /// The path that children are told.
    pub fn path(&self) -> PathBuf {
        self.directory.join(NOTIFY)
    }

    /// The next word; `None` when there is none now. One that is malformed, cut off or without a sender is an error,
    /// and what came along with it is closed.
    pub fn receive(&mut self) -> Option<Result<Received, &'static str>> {
        let mut descriptors = Vec::new();
        let received = descriptors::receive_from(self.socket.as_fd(), &mut self.buffer[..], &mut descriptors);
        let descriptors = descriptors.into_iter().map(Given::from).collect();
        let (received, sender) = received.ok()?;
        if received.bytes > LONGEST {
            return Some(Err("is too long"));
        }
        if received.truncated {
            return Some(Err("brings more descriptors than there is room for"));
        }
        Some(match (sender, Message::parse(&self.buffer[..received.bytes])) {
            (None, _) => Err("has no sender"),
            (Some(_), None) => Err("has a NUL in it"),
            (Some(sender), Some(message)) => Ok(Received { sender, message, descriptors }),
        })
    }
}

impl Drop for NotifyServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path());
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Mode 0700, ours. One that is there must be so already.
fn make_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(path)?;
            let safe = found.is_dir() && found.uid() == Uid::effective().as_raw() && found.mode() & 0o077 == 0;
            if safe { Ok(()) } else { Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not ours alone")) }
        }
        done => done,
    }
}
