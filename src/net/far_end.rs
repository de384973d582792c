//! What the kernel knows of the other end of a connection that we have made to a listener of this host: whether
//! anybody has accepted it, and by which inode that process has it. See sock_diag(7).
//!
//! A connection that waits in a listener's queue has no inode yet, since no process has it.

mod message;
#[cfg(test)]
mod tests;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::sys::stat::fstat;
use socket2::SockRef;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// How much of a table in /proc is looked through at the most.
const TABLE: u64 = 4 * 1024 * 1024;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarEnd {
    /// It waits to be accepted.
    Waiting,
    /// Some process has it as the socket with this inode.
    Held(u64),
    /// It was accepted and is closed by now.
    Closed,
}

/// Looks at the other end of a connection, without waiting.
///
/// # Errors
/// Where the kernel does not tell: it was built without sock_diag, or we may not ask.
pub fn look(client: BorrowedFd<'_>) -> io::Result<FarEnd> {
    let inode = inode_of(client)?;
    if inode > 0 {
        return Ok(FarEnd::Held(inode));
    }
    if !has_heard(client) {
        return Ok(FarEnd::Waiting);
    }
    // Somebody has it, or had it: it may have been accepted since the first look.
    Ok(match inode_of(client)? {
        0 => FarEnd::Closed,
        inode => FarEnd::Held(inode),
    })
}

/// Whether anything came over a connection, be it bytes, an end or an error.
pub fn has_heard(client: BorrowedFd<'_>) -> bool {
    let peeked = recv(client.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    !matches!(peeked, Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR))
}

/// The inode of the other end; 0 when no process has it, or it is gone.
fn inode_of(client: BorrowedFd<'_>) -> io::Result<u64> {
    let socket = SockRef::from(&client);
    match (socket.local_addr()?.as_socket(), socket.peer_addr().map(|peer| peer.as_socket())) {
        (Some(near), Ok(Some(far))) => {
            let request = message::internet(far, near);
            ask(&request, message::internet_inode).or_else(|_| in_table(far, near))
        }
        (None, Ok(None)) => {
            let request = message::unix(fstat(client)?.st_ino);
            ask(&request, message::unix_peer)
        }
        // A reset takes its address along.
        (_, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(0),
        (_, Err(error)) => Err(error),
        (Some(_), Ok(None)) | (None, Ok(Some(_))) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Asks the kernel, which answers at once. ENOENT means that there is no such socket, or that this kernel knows no such
/// question.
fn ask(request: &[u8], read: fn(&[u8]) -> Option<u64>) -> io::Result<u64> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let diag: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag).map_err(io::Error::from)?;
    send(diag.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(diag.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match message::outcome(&answer[..length]) {
        Some(message::Outcome::Found(found)) => read(found).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Some(message::Outcome::Refused(errno)) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The same by reading what the kernel prints of all connections: for kernels without the question.
fn in_table(far: SocketAddr, near: SocketAddr) -> io::Result<u64> {
    // A socket for both families is among those of IPv6, with an address that stands for the one of IPv4.
    let tables =
        [("/proc/net/tcp", message::table_entry(far, near)), ("/proc/net/tcp6", message::table_entry_v6(far, near))];
    for (path, entry) in tables {
        let Some(entry) = entry else {
            continue;
        };
        let mut text = String::new();
        File::open(path)?.take(TABLE).read_to_string(&mut text)?;
        if let Some(line) = text.lines().find(|line| line.contains(&entry)) {
            let inode = line.split_whitespace().nth(9).and_then(|inode| inode.parse().ok());
            return inode.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
    Ok(0)
}
