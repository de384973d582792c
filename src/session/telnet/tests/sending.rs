//! What a user says: input, commands, the size of the window.

use super::*;
use crate::session::frame::Command;

#[test]
fn input_is_doubled_and_its_lines_end_as_telnet_wants() {
    for (input, sent) in [
        (&b"ls"[..], &b"ls"[..]),
        (b"\xff\xff", b"\xff\xff\xff\xff"),
        (b"ls\r", b"ls\r\n"),
        (b"ls\r\n", b"ls\r\n"),
        (b"a\r\r\n\n", b"a\r\n\r\n\n"),
        (b"a\n\0", b"a\n\0"),
        (b"\r\xff\n", b"\r\n\xff\xff\n"),
    ] {
        assert_eq!(send(&mut spoken(), input), sent);
        let mut telnet = spoken();
        let by_byte = input.iter().flat_map(|byte| send(&mut telnet, &[*byte])).collect::<Vec<_>>();
        assert_eq!(by_byte, sent, "byte by byte");
    }
}

#[test]
fn in_binary_only_the_doubling_is_left() {
    let mut telnet = spoken();
    assert_eq!(send(&mut telnet, b"\r"), b"\r\n");
    receive(&mut telnet, &[IAC, DO, BINARY]);
    // This LF went with its CR.
    assert_eq!(send(&mut telnet, b"\n\r\0\r\n\xff"), b"\r\0\r\n\xff\xff");
    receive(&mut telnet, &[IAC, DONT, BINARY]);
    assert_eq!(send(&mut telnet, b"\n\r"), b"\n\r\n");
}

#[test]
fn where_telnet_is_not_spoken_input_is_not_touched() {
    for mode in [Mode::Off, Mode::Auto] {
        let mut telnet = Telnet::new(mode, Terminal::default());
        assert_eq!(send(&mut telnet, b"\xff\r\r\n"), b"\xff\r\r\n");
        let (mut out, mut received) = (Vec::new(), Received::default());
        assert!(!telnet.command(Command::Break, &mut out));
        telnet.resize(100, 50, &mut out);
        telnet.request(Side::Theirs, Known::Echo, true, &mut received);
        assert_eq!((out, received), (vec![], Received::default()));
    }
}

#[test]
fn commands_are_sent_as_such() {
    for (command, byte) in [(Command::Break, 243), (Command::Interrupt, 244), (Command::AreYouThere, 246)] {
        let mut out = Vec::new();
        assert!(spoken().command(command, &mut out));
        assert_eq!(out, [IAC, byte]);
    }
    let mut out = Vec::new();
    assert!(!spoken().command(Command::Other(9), &mut out) && out.is_empty(), "of a later version");
}

#[test]
fn the_size_of_the_window_is_told_when_it_is_agreed_and_at_every_change() {
    let mut telnet = Telnet::new(Mode::On, Terminal::new("vt100", 80, 24));
    let received = receive(&mut telnet, &[IAC, DO, WINDOW_SIZE]);
    assert_eq!(received.answers, [&[IAC, WILL, WINDOW_SIZE][..], &sub(WINDOW_SIZE, &[0, 80, 0, 24])].concat());
    let resize = |telnet: &mut Telnet, columns, rows| {
        let mut out = Vec::new();
        telnet.resize(columns, rows, &mut out);
        out
    };
    assert_eq!(resize(&mut telnet, 132, 43), sub(WINDOW_SIZE, &[0, 132, 0, 43]));
    assert!(resize(&mut telnet, 132, 43).is_empty());
    assert_eq!(resize(&mut telnet, 255, 255), sub(WINDOW_SIZE, &[0, 255, 255, 0, 255, 255]));
    assert_eq!(
        resize(&mut telnet, 65535, 0x01ff),
        sub(WINDOW_SIZE, &[255, 255, 255, 255, 1, 255, 255]),
        "each 255 is doubled"
    );
    receive(&mut telnet, &[IAC, DONT, WINDOW_SIZE]);
    assert_eq!(resize(&mut telnet, 1, 1), [IAC, WILL, WINDOW_SIZE]);
    assert!(resize(&mut telnet, 2, 2).is_empty());
    let agreed = receive(&mut telnet, &[IAC, DO, WINDOW_SIZE]);
    assert_eq!(agreed.answers, sub(WINDOW_SIZE, &[0, 2, 0, 2]), "the last size, and not another word");
}

#[test]
fn the_size_is_offered_once_to_a_destination_that_does_not_ask() {
    let mut telnet = spoken();
    let mut out = Vec::new();
    telnet.resize(100, 30, &mut out);
    assert_eq!(out, [IAC, WILL, WINDOW_SIZE]);
    assert_eq!(receive(&mut telnet, &[IAC, DONT, WINDOW_SIZE]), Received::default());
    telnet.resize(101, 30, &mut out);
    assert_eq!(out.len(), 3, "it was refused");
    let later = receive(&mut telnet, &[IAC, DO, WINDOW_SIZE]).answers;
    assert_eq!(later, [&[IAC, WILL, WINDOW_SIZE][..], &sub(WINDOW_SIZE, &[0, 101, 0, 30])].concat());
}
