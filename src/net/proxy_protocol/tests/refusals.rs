//! What is no header, and what is said of it.

use super::*;

fn refused(bytes: &[u8]) -> HeaderError {
    read(&[bytes]).expect_err(&bytes.escape_ascii().to_string())
}

#[test]
fn another_protocol_is_told_by_its_first_different_byte() {
    for bytes in [b"GET / HTTP/1.1\r\n".as_slice(), b"\x16\x03\x01", b"PROXX", b"PROXY\r", b"\r\n\r\n\0\r\nQUIX", b"\0"]
    {
        assert_eq!(refused(bytes), HeaderError::Absent);
    }
    let mut parser = Parser::new();
    assert_eq!(parser.push(b"POS"), Err(HeaderError::Absent));
}

#[test]
fn a_line_ends_within_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}", "x".repeat(length - 14)).into_bytes();
    assert_eq!(read(&[&[line(105).as_slice(), b"\r\n"].concat()]), Ok((Header::Unknown, 107)));
    assert_eq!(refused(&[line(106).as_slice(), b"\r\n"].concat()), HeaderError::LongLine);
    assert_eq!(Parser::new().push(&line(106)), Ok(Progress::More));
    assert_eq!(Parser::new().push(&line(107)), Err(HeaderError::LongLine));
}

#[test]
fn a_line_ends_with_carriage_return_and_line_feed() {
    for bytes in [b"PROXY UNKNOWN\n".as_slice(), b"PROXY UNKNOWN\rx", b"PROXY \n", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n"]
    {
        assert_eq!(refused(bytes), HeaderError::LineEnd);
    }
}

#[test]
fn a_line_has_exactly_its_fields() {
    let protocol = ["", "TCP", "TCP5 1.2.3.4 1.2.3.4 1 1", "tcp4 1.2.3.4 1.2.3.4 1 1", "UNKNOWNS", " TCP4"];
    for rest in protocol {
        assert_eq!(refused(format!("PROXY {rest}\r\n").as_bytes()), HeaderError::Protocol, "{rest}");
    }
    let fields = ["TCP4", "TCP4 1.2.3.4", "TCP4 1.2.3.4 1.2.3.4 1", "TCP4 1.2.3.4 1.2.3.4 1 1 ", "TCP6 :: :: 1 1 1"];
    for rest in fields {
        assert_eq!(refused(format!("PROXY {rest}\r\n").as_bytes()), HeaderError::Fields, "{rest}");
    }
}

#[test]
fn addresses_and_ports_are_validated() {
    let bad = [
        ("TCP4 ::1 1.2.3.4 1 1", "the PROXY line's source address is no address of TCP4"),
        ("TCP4 1.2.3.4 1.2.3.256 1 1", "the PROXY line's destination address is no address of TCP4"),
        ("TCP4 1.2.3 1.2.3.4 1 1", "the PROXY line's source address is no address of TCP4"),
        ("TCP4  1.2.3.4 1.2.3.4 1", "the PROXY line's source address is no address of TCP4"),
        ("TCP6 1.2.3.4 ::1 1 1", "the PROXY line's source address is no address of TCP6"),
        ("TCP6 fe80::1%eth0 ::1 1 1", "the PROXY line's source address is no address of TCP6"),
        ("TCP6 :: \u{e9} 1 1", "the PROXY line's destination address is no address of TCP6"),
        ("TCP4 1.2.3.4 1.2.3.4 65536 1", "the PROXY line's source port is no number from 0 to 65535"),
        ("TCP4 1.2.3.4 1.2.3.4 1 -1", "the PROXY line's destination port is no number from 0 to 65535"),
        ("TCP4 1.2.3.4 1.2.3.4 1 +1", "the PROXY line's destination port is no number from 0 to 65535"),
        ("TCP4 1.2.3.4 1.2.3.4 01 1", "the PROXY line's source port is no number from 0 to 65535"),
        ("TCP4 1.2.3.4 1.2.3.4  1", "the PROXY line's source port is no number from 0 to 65535"),
    ];
    for (rest, message) in bad {
        assert_eq!(refused(format!("PROXY {rest}\r\n").as_bytes()).to_string(), message, "{rest}");
    }
}

#[test]
fn the_fixed_part_is_checked_byte_by_byte() {
    let start = |rest: &[u8]| [SIGNATURE, rest].concat();
    assert_eq!(refused(&start(&[0x11])), HeaderError::Version { version: 1 });
    assert_eq!(refused(&start(&[0x31])), HeaderError::Version { version: 3 });
    assert_eq!(refused(&start(&[0x22])), HeaderError::Command { command: 2 });
    for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x33, 0x41, 0xff] {
        assert_eq!(refused(&start(&[0x21, family])), HeaderError::Family { family });
    }
    for (family, needed) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        let length = u16::try_from(needed).unwrap() - 1;
        let bytes = [&[0x21, family][..], &length.to_be_bytes()].concat();
        assert_eq!(refused(&start(&bytes)), HeaderError::Short { length, needed });
    }
}

#[test]
fn a_refusal_quotes_nothing_of_what_was_sent() {
    for bytes in [b"PROXY secret\r\n".as_slice(), b"secret", b"PROXY TCP4 secret 1.2.3.4 1 1\r\n", b"PROXY secret\n"] {
        assert!(!refused(bytes).to_string().contains("secret"));
    }
}
