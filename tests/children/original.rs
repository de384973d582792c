//! Programs that are linked with the original library: what that library does, from its description alone.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, socket,
};

use super::echo;
use super::serve::Service;
use super::wire::generation;
use crate::sys::{adopt, unshare_descriptors};

/// The name at which the supervisor of a port is to be found: all of `sun_path`, zeros included.
pub(crate) fn name(port: u16) -> UnixAddr {
    let mut name = [0; 107];
    let text = format!("sock_srv_{port}");
    name[..text.len()].copy_from_slice(text.as_bytes());
    UnixAddr::new_abstract(&name).unwrap()
}

/// A channel, as the library makes it: of the port, and of nothing else.
pub(crate) struct Channel(OwnedFd);

impl Channel {
    pub(crate) fn connect(port: u16) -> Result<Channel, Errno> {
        let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
        connect(stream.as_raw_fd(), &name(port))?;
        Ok(Channel(stream))
    }

    /// The next connection; `None` when it is time to go.
    pub(crate) fn accept(&self) -> Option<OwnedFd> {
        let mut byte = [0_u8];
        let mut control = nix::cmsg_space!(RawFd);
        let mut buffers = [IoSliceMut::new(&mut byte)];
        let message = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::empty()) {
                Ok(message) => break message,
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return None,
                Err(error) => panic!("cannot read the channel: {error}"),
            }
        };
        if message.bytes == 0 {
            return None;
        }
        let all: Vec<OwnedFd> = message
            .cmsgs()
            .unwrap()
            .filter_map(|part| if let ControlMessageOwned::ScmRights(fds) = part { Some(fds) } else { None })
            .flatten()
            .map(adopt)
            .collect();
        let [connection] = <[OwnedFd; 1]>::try_from(all).expect("one descriptor for each byte");
        assert_eq!(byte, *b"x");
        Some(connection)
    }
}

/// Takes connections until the channel ends, then finishes what it has.
pub(super) fn run(port: &str, late: Duration) -> ExitCode {
    std::thread::sleep(late);
    serve(&Channel::connect(port.parse().unwrap()).expect("the supervisor"), usize::MAX);
    ExitCode::SUCCESS
}

/// Connects late, and takes no new connection before it has served the last.
pub(super) fn one_by_one(port: &str, late: Duration) -> ExitCode {
    std::thread::sleep(late);
    let channel = Channel::connect(port.parse().unwrap()).expect("the supervisor");
    let service = Service::new(generation());
    while let Some(connection) = channel.accept() {
        service.take(connection);
        service.finish();
    }
    ExitCode::SUCCESS
}

/// As `run`, in a thread whose descriptors nobody finds who looks for those of the process.
pub(super) fn hidden(port: &str, most: usize) -> ExitCode {
    let port = port.to_owned();
    let work = move || {
        unshare_descriptors();
        serve(&Channel::connect(port.parse().unwrap()).expect("the supervisor"), most);
    };
    std::thread::spawn(work).join().unwrap();
    ExitCode::SUCCESS
}

/// Takes so many connections and then no more.
pub(super) fn reads(port: &str, most: usize) -> ExitCode {
    serve(&Channel::connect(port.parse().unwrap()).expect("the supervisor"), most);
    ExitCode::SUCCESS
}

/// Connects a second time, in vain.
pub(super) fn twice(port: &str) -> ExitCode {
    let port = port.parse().unwrap();
    let first = Channel::connect(port).expect("the supervisor");
    for _ in 0..3 {
        assert!(Channel::connect(port).is_ok_and(|second| second.accept().is_none()), "a second channel");
    }
    serve(&first, usize::MAX);
    ExitCode::SUCCESS
}

/// Tries first what it is not started for, then serves as it should.
pub(super) fn mistaken(port: &str) -> ExitCode {
    refused(port);
    echo::run()
}

/// Connects in vain.
pub(super) fn refused(port: &str) -> ExitCode {
    let port = port.parse().unwrap();
    assert!(Channel::connect(port).is_ok_and(|channel| channel.accept().is_none()), "a channel");
    ExitCode::SUCCESS
}

/// Uses the channel that it inherited, so it is given no other.
pub(super) fn has_one(port: &str) -> ExitCode {
    let inherited = super::wire::Channel::from_env().expect("a channel");
    inherited.hello(super::wire::VERSION);
    // Who serves takes it over.
    std::mem::forget(inherited);
    mistaken(port)
}

fn serve(channel: &Channel, most: usize) {
    let service = Service::new(generation());
    for _ in 0..most {
        match channel.accept() {
            Some(connection) => service.take(connection),
            None => return service.finish(),
        }
    }
    loop {
        std::thread::park();
    }
}
