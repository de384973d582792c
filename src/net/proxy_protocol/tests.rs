//! Headers by the specification, whole and in pieces, and what is none.

mod refusals;
mod trust;
mod walk;

use super::*;

const SIGNATURE: &[u8] = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";

fn inet(source: &str, destination: &str) -> Header {
    Header::Inet { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn unix(source: &[u8], destination: &[u8]) -> Header {
    let name = |bytes| UnixName::new(bytes).unwrap();
    Header::Unix { source: name(source), destination: name(destination) }
}

/// A version 2 header with these bytes behind the signature.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// Every header with the bytes that the specification gives it.
fn samples() -> Vec<(Vec<u8>, Header)> {
    let v4_rest = b"\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x01\x00\x50";
    let v6_rest = [
        b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01".as_slice(),
        b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x04\x01\x01\xbb",
    ]
    .concat();
    let mapped_rest = [
        b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01".as_slice(),
        b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x02\x04\x01\x00\x50",
    ]
    .concat();
    let mut unix_rest = vec![0; 216];
    unix_rest[..9].copy_from_slice(b"/run/from");
    unix_rest[108..115].copy_from_slice(b"\0hidden");
    let v4 = inet("192.0.2.1:1025", "198.51.100.2:80");
    let v6 = inet("[2001:db8::1]:1025", "[2001:db8::2]:443");
    let tlvs = [v4_rest.as_slice(), b"\x04", &5000_u16.to_be_bytes(), &[7; 5000]].concat();
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    let all = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(unknown.len(), 107);
    vec![
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 1025 80\r\n".to_vec(), v4.clone()),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1025 443\r\n".to_vec(), v6.clone()),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1025 80\r\n".to_vec(), v4.clone()),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535\r\n".to_vec(), inet("192.0.2.1:0", "198.51.100.2:65535")),
        (longest.into_bytes(), inet(all, all)),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Unknown),
        (b"PROXY UNKNOWN any thing \xff\0 1 2 3\r\n".to_vec(), Header::Unknown),
        (unknown.into_bytes(), Header::Unknown),
        (v2(0x21, 0x11, v4_rest), v4.clone()),
        (v2(0x21, 0x21, &v6_rest), v6),
        (v2(0x21, 0x21, &mapped_rest), v4.clone()),
        (v2(0x21, 0x31, &unix_rest), unix(b"/run/from", b"\0hidden")),
        (v2(0x21, 0x31, &[0; 216]), unix(b"", b"")),
        (v2(0x21, 0x11, &tlvs), v4.clone()),
        (v2(0x21, 0x11, &[v4_rest.as_slice(), &[0; 65523]].concat()), v4),
        (v2(0x20, 0x00, &[]), Header::Local),
        // Whatever a health check says of its addresses.
        (v2(0x20, 0x11, v4_rest), Header::Local),
        (v2(0x20, 0x77, &[1, 2, 3]), Header::Local),
        (v2(0x21, 0x00, &[]), Header::Unknown),
        (v2(0x21, 0x00, &[9; 70]), Header::Unknown),
        // Datagrams: of the families that exist, none that a stream can stand for.
        (v2(0x21, 0x12, v4_rest), Header::Unknown),
        (v2(0x21, 0x22, &v6_rest), Header::Unknown),
        (v2(0x21, 0x32, &[]), Header::Unknown),
    ]
}

/// Reads the pieces one after the other; what they say, and how many bytes were taken in all.
fn read(pieces: &[&[u8]]) -> Result<(Header, usize), HeaderError> {
    let mut parser = Parser::new();
    let mut taken = 0;
    for piece in pieces {
        match parser.push(piece)? {
            Progress::More => taken += piece.len(),
            Progress::Done { header, used } => return Ok((header, taken + used)),
        }
    }
    Err(parser.ended())
}

#[test]
fn a_header_is_read_and_the_bytes_behind_it_stay() {
    for (bytes, header) in samples() {
        let with_more = [&bytes[..], b"\r\nPROXY TCP4 and so on"].concat();
        assert_eq!(read(&[&with_more]), Ok((header, bytes.len())), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_header_may_be_split_at_every_byte() {
    for (bytes, header) in samples() {
        let all = [&bytes[..], b"GET"].concat();
        // At every byte but for those with thousands of bytes to skip.
        for at in (0..=all.len()).step_by(1 + all.len() / 500) {
            let (first, second) = all.split_at(at);
            assert_eq!(read(&[first, second]), Ok((header.clone(), bytes.len())), "{at} {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    for (bytes, header) in samples() {
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&pieces), Ok((header, bytes.len())), "{}", bytes.escape_ascii());
    }
}

#[test]
fn no_more_than_the_addresses_are_kept() {
    for (bytes, _) in samples() {
        let mut parser = Parser::new();
        parser.push(&bytes).unwrap();
        assert!(parser.kept.len() <= 232, "{} of {}", parser.kept.len(), bytes.len());
    }
}

#[test]
fn an_unfinished_header_is_more_to_come_and_knows_its_length() {
    for (bytes, _) in samples() {
        for at in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let mut parser = Parser::new();
            assert_eq!(parser.push(&bytes[..at]), Ok(Progress::More), "{at} {}", bytes.escape_ascii());
            assert_eq!(parser.ended(), HeaderError::Ended { received: at });
        }
    }
}

#[test]
fn a_header_is_written_as_the_specification_has_it() {
    let v4 = inet("192.0.2.1:1025", "198.51.100.2:80");
    let v6 = inet("[2001:db8::1]:1025", "[2001:db8::2]:443");
    let name = unix(b"/run/from", b"\0hidden");
    let v1 = [
        (&v4, "PROXY TCP4 192.0.2.1 198.51.100.2 1025 80\r\n"),
        (&v6, "PROXY TCP6 2001:db8::1 2001:db8::2 1025 443\r\n"),
        (&Header::Unknown, "PROXY UNKNOWN\r\n"),
        (&Header::Local, "PROXY UNKNOWN\r\n"),
        (&name, "PROXY UNKNOWN\r\n"),
    ];
    for (header, line) in v1 {
        assert_eq!(
            header.to_bytes(ProxyVersion::V1).escape_ascii().to_string(),
            line.as_bytes().escape_ascii().to_string()
        );
    }
    // Of each header the shortest sample of version 2 is how it is written.
    for header in [v4, v6, name, Header::Unknown, Header::Local] {
        let of_it = samples().into_iter().filter(|(bytes, sample)| bytes.starts_with(SIGNATURE) && *sample == header);
        let shortest = of_it.map(|(bytes, _)| bytes).min_by_key(Vec::len).unwrap();
        assert_eq!(header.to_bytes(ProxyVersion::V2), shortest, "{header:?}");
    }
}

#[test]
fn addresses_of_two_families_become_those_of_one() {
    let header =
        |source: &str, destination: &str| Header::between(source.parse().unwrap(), destination.parse().unwrap());
    // As a dual-stack listener reports an IPv4 client.
    let dual = header("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2");
    assert_eq!(dual, inet("192.0.2.1:1", "192.0.2.2:2"));
    let mixed = header("192.0.2.1:1", "[2001:db8::2]:2");
    assert_eq!(mixed.to_bytes(ProxyVersion::V1), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    assert_eq!(read(&[&mixed.to_bytes(ProxyVersion::V2)]).unwrap().0, mixed);
    // The scope of a link-local address means nothing on another host.
    assert_eq!(header("[fe80::1%3]:1", "[fe80::2%3]:2"), inet("[fe80::1]:1", "[fe80::2]:2"));
}

#[test]
fn a_name_longer_than_a_socket_has_is_none() {
    assert_eq!(UnixName::new(&[b'a'; 108]).map(|name| name.as_bytes().len()), Some(108));
    assert_eq!(UnixName::new(&[b'a'; 109]), None);
    let header = unix(&[b'a'; 108], b"");
    assert_eq!(read(&[&header.to_bytes(ProxyVersion::V2)]).unwrap().0, header);
}
