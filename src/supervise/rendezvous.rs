//! The names at which programs that are linked with the original library expect their supervisor: for each port one in
//! the abstract namespace, of the full length that `sockaddr_un` has. Who may connect is the driver's affair.

use super::Source;
use crate::reactor::{Descriptor, READABLE, Reactor, Registered};
use log::warn;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// The length of the name without its first byte, a NUL: the original binds and connects the whole of `sun_path`.
const LENGTH: usize = 107;
/// Few at a time: each child connects once.
const BACKLOG: i32 = 16;

/// The names of an instance.
#[derive(Debug)]
pub struct Rendezvous {
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    port: u16,
    /// None while another process has it.
    listener: Option<Registered<Descriptor<UnixListener>>>,
    complained: bool,
}

/// Who has connected.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub stream: OwnedFd,
    /// The process that did.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// The name at which it did.
    pub name: UnixAddr,
}

impl Rendezvous {
    /// Listens at the names of these ports, as far as they are to be had.
    pub fn open(reactor: &mut Reactor<Source>, ports: impl Iterator<Item = u16>) -> Self {
        let mut names: Vec<Name> = Vec::new();
        for port in ports {
            if names.iter().all(|name| name.port != port) {
                names.push(Name { port, listener: None, complained: false });
            }
        }
        let mut rendezvous = Rendezvous { names };
        rendezvous.open_missing(reactor);
        rendezvous
    }

    /// Listens at names that were not to be had before.
    pub fn open_missing(&mut self, reactor: &mut Reactor<Source>) {
        for (index, name) in (0..).zip(&mut self.names).filter(|(_, name)| name.listener.is_none()) {
            let listener = listen_at(name.port)
                .and_then(|listener| reactor.register(Descriptor(listener), Source::Rendezvous(index), READABLE));
            match listener {
                Ok(listener) => name.listener = Some(listener),
                Err(error) if !std::mem::replace(&mut name.complained, true) => {
                    let port = name.port;
                    warn!("cannot listen on the original library's name sock_srv_{port}: {error}");
                    warn!("hint: only programs linked with that library need it; 'ss -xlp' shows which process has it");
                }
                Err(_) => {}
            }
        }
    }

    /// Who has connected at a name; `None` when nobody waits.
    ///
    /// # Errors
    /// Those of accept(2), such as for want of descriptors.
    pub fn accept(&self, index: u16) -> io::Result<Option<Peer>> {
        let Some(name) = self.names.get(usize::from(index)) else {
            return Ok(None);
        };
        let Some(listener) = &name.listener else {
            return Ok(None);
        };
        loop {
            match listener.0.accept() {
                Ok((stream, _)) => match getsockopt(&stream, sockopt::PeerCredentials) {
                    Ok(peer) => {
                        let (pid, uid) = (peer.pid(), peer.uid());
                        return Ok(Some(Peer { stream: stream.into(), pid, uid, name: address(name.port)? }));
                    }
                    Err(_) => continue,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn listen_at(port: u16) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &address(port)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

fn address(port: u16) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new_abstract(&name(port))?)
}

fn name(port: u16) -> [u8; LENGTH] {
    let mut name = [0; LENGTH];
    let text = format!("sock_srv_{port}");
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

#[cfg(test)]
mod tests {
    use super::{address, name};
    use nix::sys::socket::SockaddrLike;

    #[test]
    fn a_name_is_as_long_as_the_original_library_makes_it() {
        let name = name(4321);
        assert_eq!(&name[..14], b"sock_srv_4321\0");
        assert!(name[14..].iter().all(|byte| *byte == 0));
        assert_eq!(address(4321).unwrap().len() as usize, size_of::<libc::sockaddr_un>());
        assert_eq!(address(65535).unwrap().len(), 110);
    }
}
