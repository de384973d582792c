//! The bytes of questions to sock_diag(7) and of their answers, and the form of addresses in /proc/net. Pure.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// Length, type, flags, sequence and port of a netlink message.
const HEADER: usize = 16;
/// No cookie is asked for.
const ANY_COOKIE: [u8; 8] = [0xff; 8];
const ALL_STATES: u32 = u32::MAX;
const FAMILY_UNIX: u8 = 1;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;
const SHOW_PEER: u32 = 4;
const ATTRIBUTE_PEER: u16 = 2;
/// Where the inode is in `inet_diag_msg`.
const INTERNET_INODE: usize = 68;
/// How long `unix_diag_msg` is; attributes follow.
const UNIX_MESSAGE: usize = 16;

/// What an answer is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// What follows the header.
    Found(&'a [u8]),
    /// An errno.
    Refused(i32),
}

/// Asks for the TCP socket here whose own address is `own` and whose peer's is `peer`.
pub(super) fn internet(own: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = if own.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
    let mut body = vec![family, PROTOCOL_TCP, 0, 0];
    body.extend(ALL_STATES.to_ne_bytes());
    body.extend(own.port().to_be_bytes());
    body.extend(peer.port().to_be_bytes());
    body.extend(sixteen(own.ip()));
    body.extend(sixteen(peer.ip()));
    // The interface matters for link-local addresses, whose zone it is.
    let zone = if let SocketAddr::V6(own) = own { own.scope_id() } else { 0 };
    body.extend(zone.to_ne_bytes());
    body.extend(ANY_COOKIE);
    message(&body)
}

/// Asks for the peer of the unix socket with this inode.
pub(super) fn unix(inode: u64) -> Vec<u8> {
    let mut body = vec![FAMILY_UNIX, 0, 0, 0];
    // The numbers of sockets have 32 bits.
    for number in [ALL_STATES, inode as u32, SHOW_PEER] {
        body.extend(number.to_ne_bytes());
    }
    body.extend(ANY_COOKIE);
    message(&body)
}

fn message(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&ip.octets());
            all
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// What the first message of an answer is; `None` when it is cut short, or nothing that we know.
pub(super) fn outcome(answer: &[u8]) -> Option<Outcome<'_>> {
    let length = number(answer, 0)? as usize;
    let body = answer.get(HEADER..length)?;
    match u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?) {
        BY_FAMILY => Some(Outcome::Found(body)),
        // The kernel gives it negative.
        ERROR => Some(Outcome::Refused((number(body, 0)? as i32).wrapping_neg())),
        _ => None,
    }
}

/// The inode in an answer to [`internet`].
pub(super) fn internet_inode(body: &[u8]) -> Option<u64> {
    number(body, INTERNET_INODE).map(u64::from)
}

/// The inode of the peer in an answer to [`unix`]; 0 when it has none.
pub(super) fn unix_peer(body: &[u8]) -> Option<u64> {
    let mut rest = body.get(UNIX_MESSAGE..)?;
    while let Some(length) = short(rest, 0) {
        if short(rest, 2)? == ATTRIBUTE_PEER {
            return number(rest, 4).map(u64::from);
        }
        // Attributes begin at multiples of four.
        rest = rest.get(usize::from(length).max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(0)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// Both addresses as /proc/net/tcp prints them; `None` for IPv6.
pub(super) fn table_entry(own: SocketAddr, peer: SocketAddr) -> Option<String> {
    let one = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port())),
        IpAddr::V6(_) => None,
    };
    Some(format!(" {} {} ", one(own)?, one(peer)?))
}

/// Both addresses as /proc/net/tcp6 prints them.
pub(super) fn table_entry_v6(own: SocketAddr, peer: SocketAddr) -> Option<String> {
    let one = |address: SocketAddr| {
        let ip = match address {
            SocketAddr::V4(address) => address.ip().to_ipv6_mapped(),
            SocketAddr::V6(address) => *SocketAddrV6::ip(&address),
        };
        let words = ip.octets();
        let words = words.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
        format!("{}:{:04X}", words.collect::<String>(), address.port())
    };
    Some(format!(" {} {} ", one(own), one(peer)))
}

#[cfg(test)]
mod tests {
    use super::{Outcome, outcome, table_entry, table_entry_v6, unix_peer};

    #[test]
    fn answers_that_are_cut_short_or_strange_say_nothing() {
        let mut answer = super::message(&[7; 8]);
        assert_eq!(outcome(&answer), Some(Outcome::Found(&[7; 8])));
        for end in 0..answer.len() {
            assert_eq!(outcome(&answer[..end]), None);
        }
        answer[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        answer[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(outcome(&answer), Some(Outcome::Refused(2)));
        answer[4] = 99;
        assert_eq!(outcome(&answer), None);
    }

    #[test]
    fn the_peer_is_found_among_other_attributes_of_any_length() {
        let mut body = vec![0; 16];
        assert_eq!(unix_peer(&body), Some(0), "it has none");
        for (kind, value) in [(5_u16, &[1_u8][..]), (2, &[0x78, 0x56, 0x34, 0x12][..])] {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        assert_eq!(unix_peer(&body), Some(u64::from(u32::from_ne_bytes([0x78, 0x56, 0x34, 0x12]))));
        assert_eq!(unix_peer(&[0; 20]), Some(0), "an attribute without a length leads no one in a circle");
        assert_eq!(unix_peer(&[0; 3]), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_written_as_the_kernel_prints_them() {
        let (own, peer) = ("127.0.0.1:8080".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        assert_eq!(table_entry(own, peer).unwrap(), " 0100007F:1F90 0200000A:0001 ");
        let mapped = " 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000200000A:0001 ";
        assert_eq!(table_entry_v6(own, peer).unwrap(), mapped);
        let own = "[::1]:80".parse().unwrap();
        assert_eq!(table_entry(own, own), None);
        assert!(table_entry_v6(own, own).unwrap().starts_with(" 00000000000000000000000001000000:0050 "));
    }
}
