//! Who listens where a connection to an address of this host arrives, by the inodes of the sockets; see sock_diag(7).
//!
//! The kernel is asked for those that listen at the port. Where it does not answer, its table of all sockets is read, which may
//! be long: closed connections stand in it for a minute.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// A request for all that there are.
const REQUEST_ALL: u16 = 0x301;
const HEADER: usize = 16;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;
/// The state of a socket that listens.
const LISTENS: u32 = 10;
/// Where the own port, the own address and the inode are in `inet_diag_msg`.
const PORT: usize = 4;
const ADDRESS: usize = 8;
const INODE: usize = 68;
/// As much as the kernel puts into one answer at the most.
const LONGEST: usize = 64 * 1024;

/// The sockets that listen where a connection to this address arrives, be it as one of several.
pub fn listening(address: SocketAddr) -> Vec<u64> {
    told_or_read(ask_kernel(address), address)
}

fn told_or_read(told: io::Result<Vec<u64>>, address: SocketAddr) -> Vec<u64> {
    told.unwrap_or_else(|_| read_tables(address))
}

fn ask_kernel(address: SocketAddr) -> io::Result<Vec<u64>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let diag: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag).map_err(io::Error::from)?;
    let (mut inodes, mut answer) = (Vec::new(), vec![0; LONGEST]);
    for family in [FAMILY_V4, FAMILY_V6] {
        send(diag.as_raw_fd(), &question(family, address.port()), MsgFlags::empty())?;
        // What it has to say is there when it is asked for, so nothing is waited for.
        loop {
            let length = recv(diag.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            if read_answer(&answer[..length], address, &mut inodes)? {
                break;
            }
        }
    }
    Ok(inodes)
}

/// `inet_diag_req_v2` for all that listen at a port.
fn question(family: u8, port: u16) -> Vec<u8> {
    let mut body = vec![family, PROTOCOL_TCP, 0, 0];
    body.extend((1_u32 << LISTENS).to_ne_bytes());
    body.extend(port.to_be_bytes());
    // The peer's port, both addresses, the interface and the cookie: any.
    body.extend([0; 2 + 32 + 4 + 8]);
    let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend([BY_FAMILY, REQUEST_ALL].iter().flat_map(|word| word.to_ne_bytes()));
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Adds what several messages tell; whether the last one was among them.
fn read_answer(mut answer: &[u8], address: SocketAddr, inodes: &mut Vec<u64>) -> io::Result<bool> {
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    while !answer.is_empty() {
        let length = word(answer, 0).ok_or_else(strange)? as usize;
        let body = answer.get(HEADER..length).ok_or_else(strange)?;
        match u16::from_ne_bytes([answer[4], answer[5]]) {
            BY_FAMILY => inodes.extend(inode(body, address).ok_or_else(strange)?),
            // The last one has an errno, too: that of a list that has come to nothing, as without the module tcp_diag.
            kind @ (DONE | ERROR) => {
                let errno = word(body, 0).ok_or_else(strange)? as i32;
                if kind == DONE && errno >= 0 {
                    return Ok(true);
                }
                // The kernel gives it negative.
                return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
            }
            _ => return Err(strange()),
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The inode that an `inet_diag_msg` tells, if a connection to the address arrives there; `None` if it is cut short.
fn inode(body: &[u8], address: SocketAddr) -> Option<Option<u64>> {
    let octets: [u8; 16] = body.get(ADDRESS..ADDRESS + 16)?.try_into().ok()?;
    let host = match *body.first()? {
        FAMILY_V4 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        _ => IpAddr::from(octets),
    };
    let port = u16::from_be_bytes(body.get(PORT..PORT + 2)?.try_into().ok()?);
    let inode = word(body, INODE)?;
    Some(arrives(SocketAddr::new(host, port), address).then_some(inode.into()))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// Whether a connection to an address arrives at what listens at another one. One for IPv6 is believed to take IPv4 as well.
fn arrives(listener: SocketAddr, address: SocketAddr) -> bool {
    let host = match (listener.ip(), address.ip()) {
        (IpAddr::V4(listener), IpAddr::V4(address)) => listener == Ipv4Addr::UNSPECIFIED || listener == address,
        (IpAddr::V6(listener), IpAddr::V6(address)) => listener == Ipv6Addr::UNSPECIFIED || listener == address,
        // One for both families.
        (IpAddr::V6(listener), IpAddr::V4(address)) => {
            listener == Ipv6Addr::UNSPECIFIED || listener == address.to_ipv6_mapped()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    host && listener.port() == address.port()
}

fn read_tables(address: SocketAddr) -> Vec<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(|line| in_line(line, address))).collect()
}

/// The inode of the socket on this line of the table, if a connection to the address arrives there; see proc_pid_net(5).
fn in_line(line: &str, address: SocketAddr) -> Option<u64> {
    let mut fields = line.split_whitespace().skip(1);
    let (host, port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let listener = SocketAddr::new(written(host)?, u16::from_str_radix(port, 16).ok()?);
    let listens = u32::from_str_radix(state, 16).ok()? == LISTENS;
    (listens && arrives(listener, address)).then_some(inode)
}

/// An address as the table has it: its words as this machine has them in memory.
fn written(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Some(IpAddr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{BY_FAMILY, DONE, ERROR, ask_kernel, in_line, inode, question, read_answer, read_tables, told_or_read};
    use nix::sys::stat::fstat;
    use socket2::{Domain, Socket, Type};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    #[test]
    fn the_kernel_says_the_same_as_its_table() {
        let mut v6_only = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        let both = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        v6_only.set_only_v6(true).unwrap();
        both.set_only_v6(false).unwrap();
        for socket in [&mut v6_only, &both] {
            socket.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            socket.listen(1).unwrap();
        }
        let plain = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"].map(|place| TcpListener::bind(place).unwrap());
        let listeners = plain.into_iter().chain([v6_only.into(), both.into()]);
        let hosts = ["127.0.0.1", "127.0.0.2", "[::1]"];
        let expected = [[true, false, false], [true, true, false], [false, false, true], [true; 3], [true; 3]];
        for (listener, expected) in listeners.zip(expected) {
            let (address, own) = (listener.local_addr().unwrap(), fstat(&listener).unwrap().st_ino);
            // Neither a connection, nor what listens elsewhere, is one that listens here.
            let host = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
            let _connection = TcpStream::connect((host, address.port())).unwrap();
            for (host, expected) in hosts.iter().zip(expected) {
                let place = format!("{host}:{}", address.port()).parse().unwrap();
                let found = ask_kernel(place).unwrap();
                assert_eq!(found, if expected { vec![own] } else { vec![] }, "{address} for {place}");
                assert_eq!(found, read_tables(place), "{address} for {place}");
            }
            let port = address.port();
            drop(listener);
            assert!(ask_kernel(SocketAddr::new(address.ip(), port)).unwrap().is_empty());
        }
    }

    #[test]
    fn answers_that_are_cut_short_or_strange_are_none() {
        let address = "127.0.0.1:80".parse().unwrap();
        let message = |kind: u16, body: &[u8]| {
            let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(body);
            message
        };
        let mut body = [0; 72];
        (body[0], body[5], body[68]) = (2, 80, 7);
        let read = |bytes: &[u8]| {
            let mut inodes = Vec::new();
            read_answer(bytes, address, &mut inodes).map(|done| (done, inodes)).map_err(|error| error.raw_os_error())
        };
        let two = [message(BY_FAMILY, &body), message(DONE, &[0; 4])].concat();
        let inode_of = u64::from(u32::from_ne_bytes([7, 0, 0, 0]));
        assert_eq!(read(&two), Ok((true, vec![inode_of])));
        assert_eq!(read(&two[..88]), Ok((false, vec![inode_of])));
        for end in (1..88).chain(89..two.len()) {
            assert!(read(&two[..end]).is_err(), "{end}");
        }
        assert_eq!(read(&message(ERROR, &(-2_i32).to_ne_bytes())), Err(Some(2)));
        // A list that has come to nothing on the way, after the first of it.
        let failed = [message(BY_FAMILY, &body), message(DONE, &(-2_i32).to_ne_bytes())].concat();
        assert_eq!(read(&failed), Err(Some(2)));
        assert_eq!(read(&message(DONE, &[])), Err(None));
        assert_eq!(read(&message(99, &[])), Err(None));
        assert!(inode(&body[..71], address).is_none());
        assert_eq!(question(2, 80).len(), 16 + 56);
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, own) = (listener.local_addr().unwrap(), fstat(&listener).unwrap().st_ino);
        assert_eq!(told_or_read(Err(std::io::Error::from_raw_os_error(2)), address), [own]);
        assert_eq!(told_or_read(Ok(vec![]), address), [] as [u64; 0], "what it has told is not asked again");
    }

    #[test]
    fn a_listener_is_found_in_the_table() {
        let first = u32::from_ne_bytes([127, 0, 0, 1]);
        let line = format!(
            "   1: {first:08X}:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1"
        );
        let at = |line: &str, address: &str| in_line(line, address.parse().unwrap());
        assert_eq!(at(&line, "127.0.0.1:8001"), Some(31337));
        assert_eq!(at(&line, "127.0.0.1:8002"), None);
        assert_eq!(at(&line, "127.0.0.2:8001"), None);
        assert_eq!(at(&line.replace(" 0A ", " 01 "), "127.0.0.1:8001"), None, "it is connected");
        let everywhere = line.replace(&format!("{first:08X}"), &"0".repeat(32));
        assert_eq!(at(&everywhere, "127.0.0.1:8001"), Some(31337));
        assert_eq!(at(&everywhere, "[::1]:8001"), Some(31337));
        let mapped = format!("{}{:08X}{first:08X}", "0".repeat(16), u32::from_ne_bytes([0, 0, 0xff, 0xff]));
        assert_eq!(at(&line.replace(&format!("{first:08X}"), &mapped), "127.0.0.1:8001"), Some(31337));
        assert_eq!(at("  sl  local_address rem_address   st", "[::1]:8001"), None);
    }
}
