//! What we tell an outer manager that watches us: the messages of sd_notify(3), to the socket that NOTIFY_SOCKET names.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sendto, socket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Whether one watches us and wants to be told.
pub fn is_watched() -> bool {
    std::env::var_os(NOTIFY_SOCKET).is_some_and(|path| !path.is_empty())
}

/// Tells it something, as `READY=1`; nothing where none watches.
///
/// # Errors
/// Those of socket(2) and sendto(2).
pub fn tell(state: &str) -> io::Result<()> {
    match std::env::var_os(NOTIFY_SOCKET) {
        Some(path) if !path.is_empty() => Ok(send(&path, state)?),
        Some(_) | None => Ok(()),
    }
}

fn send(path: &OsStr, state: &str) -> nix::Result<()> {
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name)?,
        None => UnixAddr::new(Path::new(path))?,
    };
    // It is not waited for: a manager that does not read shall not stop us.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    sendto(socket.as_raw_fd(), state.as_bytes(), &address, MsgFlags::empty()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::send;
    use std::ffi::OsString;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn a_state_arrives_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("service-{}", std::process::id());
        let named = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&named).unwrap()];
        for (socket, to) in sockets.iter().zip([path.into_os_string(), OsString::from(format!("@{name}"))]) {
            send(&to, "MAINPID=7").unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"MAINPID=7");
        }
    }
}
