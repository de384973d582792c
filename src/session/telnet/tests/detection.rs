//! Whether telnet is spoken.

use super::super::detection::FIRST;
use super::*;

fn auto() -> Telnet {
    Telnet::new(Mode::Auto, Terminal::default())
}

#[test]
fn telnet_is_spoken_from_the_first_negotiation_on() {
    let mut telnet = auto();
    let received = receive(&mut telnet, &[b"\xff\xff\r\0", &[IAC, WILL, ECHO][..], b"\xff\xff\r\0"].concat());
    assert_eq!(received.clean, b"\xff\xff\r\0\xff\r");
    assert_eq!(received.answers, [IAC, DO, ECHO]);
    let spoken = Event { at: 4, change: Change::Spoken };
    assert_eq!(received.events, [spoken, option(4, Side::Theirs, Known::Echo, true)]);
    assert!(telnet.is_spoken());
    assert_eq!(send(&mut telnet, b"\xff\r"), b"\xff\xff\r\n");
}

#[test]
fn a_refused_option_tells_of_telnet_too() {
    for number in [LINE_MODE, ENVIRONMENT, TIMING_MARK, COMPRESSION] {
        for verb in [WILL, WONT, DO, DONT] {
            let mut telnet = auto();
            assert_eq!(receive(&mut telnet, &[IAC, verb, number]).clean, b"");
            assert!(telnet.is_spoken());
        }
    }
}

#[test]
fn where_nothing_is_negotiated_no_byte_is_touched() {
    let mp3 = [0xff, 0xfb, 0x90, 0x64, 0xff, 0xfb, 0x92, 0x00, 0xff, 0xff, 0xff, 0xfa, 0xff, 0xf0, b'\r', 0];
    let jpeg = [0xff, 0xd8, 0xff, 0xfe, 0xff, 0xe0, 0xff, 0xfd, 0xff, 0xfd];
    for bytes in [&mp3[..], &jpeg, b"SSH-2.0-x\r\n", b"\xff\xfb\xff"] {
        for pieces in [1, bytes.len()] {
            let mut telnet = auto();
            let mut received = in_pieces(&mut telnet, bytes.chunks(bytes.len() / pieces));
            telnet.release(&mut received);
            assert_eq!(received, Received { clean: bytes.to_vec(), ..Received::default() });
            assert!(!telnet.is_spoken());
        }
    }
}

#[test]
fn a_negotiation_counts_if_it_begins_in_the_first_bytes() {
    for (before, is_spoken) in [(0, true), (FIRST - 1, true), (FIRST, false)] {
        let bytes = [&vec![b'x'; before][..], &[IAC, WILL, ECHO, b'y']].concat();
        for size in [1, 2, 3, bytes.len()] {
            let mut telnet = auto();
            let received = in_pieces(&mut telnet, bytes.chunks(size));
            assert_eq!(telnet.is_spoken(), is_spoken, "{before} before it, {size} at a time");
            let clean = if is_spoken { before + 1 } else { bytes.len() };
            assert_eq!(received.clean.len(), clean);
        }
    }
    let mut telnet = auto();
    receive(&mut telnet, &[b'x'; FIRST + 1]);
    assert_eq!(receive(&mut telnet, &[IAC, WILL, ECHO]).clean, [IAC, WILL, ECHO], "it is decided for ever");
}

#[test]
fn what_may_be_a_negotiation_waits_until_it_is_clear_or_is_let_go() {
    let mut telnet = auto();
    assert_eq!(receive(&mut telnet, b"a\xff").clean, b"a");
    assert!(telnet.is_undecided());
    let mut received = Received::default();
    telnet.release(&mut received);
    assert_eq!(received.clean, b"\xff");
    assert!(!telnet.is_undecided());
    assert_eq!(receive(&mut telnet, &[WILL, ECHO, IAC, WILL]).clean, [WILL, ECHO], "what was let go was text");
    telnet.release(&mut received);
    assert_eq!(received.clean, [IAC, IAC, WILL]);
    assert_eq!(receive(&mut telnet, &[IAC, WILL, ECHO]).answers, [IAC, DO, ECHO], "it may still be found");
    assert!(!telnet.is_undecided());
    telnet.release(&mut received);
    assert_eq!(received.clean.len(), 3, "a command that has begun is no text");
}

#[test]
fn where_it_is_off_no_byte_is_touched_and_where_it_is_on_it_is_from_the_first() {
    let bytes = [IAC, WILL, ECHO, IAC, IAC, b'\r', 0];
    let mut off = Telnet::new(Mode::Off, Terminal::default());
    assert_eq!(receive(&mut off, &bytes), Received { clean: bytes.to_vec(), ..Received::default() });
    assert_eq!(off.changes().count(), 0);
    let mut on = spoken();
    assert!(on.is_spoken() && on.changes().eq([Change::Spoken]));
    assert_eq!(receive(&mut on, &bytes[3..]).clean, b"\xff\r");
}
