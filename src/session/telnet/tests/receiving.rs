//! What a destination says: text, commands, options.

use super::*;

#[test]
fn text_comes_out_without_commands_and_doubling() {
    for (bytes, clean) in [
        (&b"login: "[..], &b"login: "[..]),
        (b"a\xff\xffb", b"a\xffb"),
        (b"\xff\xf1a\xff\xf9b\xff\xf2c\xff\xefd\xff\xecd", b"abcdd"),
        (b"one\r\ntwo\r\n", b"one\r\ntwo\r\n"),
        (b"50 %\r\x00100 %", b"50 %\r100 %"),
        (b"\r\0\0", b"\r\0"),
        (b"\0a\0", b"\0a\0"),
        (b"\r\xff\xf1\0a", b"\ra"),
        (b"\r\xff\xff\0", b"\r\xff\0"),
        (b"\rx\0", b"\rx\0"),
        (b"\r\r\0\n", b"\r\r\n"),
        // A sender that does not double what it should, in Latin-1: no such command.
        (b"\xff\xe9l", b"\xff\xe9l"),
        (b"\xff\r\0a", b"\xff\ra"),
    ] {
        assert_eq!(receive(&mut spoken(), bytes), Received { clean: clean.to_vec(), ..Received::default() });
    }
}

#[test]
fn options_are_agreed_to_on_the_sides_where_they_make_sense_and_refused_elsewhere() {
    let both = [BINARY, SGA, CHARSET];
    let theirs = [ECHO, END_OF_RECORD];
    let ours = [TERMINAL_TYPE, WINDOW_SIZE];
    for number in 0..=255 {
        let agreed = both.contains(&number) || theirs.contains(&number);
        let answer = receive(&mut spoken(), &[IAC, WILL, number]).answers;
        assert_eq!(answer, [IAC, if agreed { DO } else { DONT }, number]);
        let agreed = both.contains(&number) || ours.contains(&number);
        let answer = receive(&mut spoken(), &[IAC, DO, number]).answers;
        assert_eq!(answer[..3], [IAC, if agreed { WILL } else { WONT }, number]);
        assert_eq!(answer.len() > 3, number == WINDOW_SIZE);
        for off in [WONT, DONT] {
            assert_eq!(receive(&mut spoken(), &[IAC, off, number]), Received::default(), "it was off");
        }
    }
    for number in [LINE_MODE, ENVIRONMENT, COMPRESSION] {
        let answers = receive(&mut spoken(), &[IAC, WILL, number, IAC, DO, number]).answers;
        assert_eq!(answers, [IAC, DONT, number, IAC, WONT, number]);
    }
}

#[test]
fn each_change_is_told_with_its_place_in_the_text() {
    let mut telnet = spoken();
    let bytes = [b"Password: ", &[IAC, WILL, ECHO][..], b"\r\n", &[IAC, WONT, ECHO], b"ok", &[IAC, DO, SGA]].concat();
    let received = receive(&mut telnet, &bytes);
    assert_eq!(received.clean, b"Password: \r\nok");
    assert_eq!(
        received.events,
        [
            option(10, Side::Theirs, Known::Echo, true),
            option(12, Side::Theirs, Known::Echo, false),
            option(14, Side::Ours, Known::SuppressGoAhead, true),
        ]
    );
    assert_eq!(received.answers, [IAC, DO, ECHO, IAC, DONT, ECHO, IAC, WILL, SGA]);
}

#[test]
fn marks_at_the_ends_of_records_are_told_once_they_are_agreed() {
    let mut telnet = spoken();
    let received = receive(&mut telnet, &[&[IAC, 239, IAC, WILL, END_OF_RECORD][..], b"hp 9>", &[IAC, 239]].concat());
    let end = Event { at: 5, change: Change::EndOfRecord };
    assert_eq!(received.clean, b"hp 9>");
    assert_eq!(received.events, [option(0, Side::Theirs, Known::EndOfRecord, true), end]);
}

#[test]
fn clients_are_told_what_they_have_a_use_for() {
    let option = |side, known, on| Change::Option { side, known, on }.event();
    assert_eq!(option(Side::Theirs, Known::Echo, true), Some((1, &[1][..])));
    assert_eq!(option(Side::Theirs, Known::Echo, false), Some((1, &[0][..])));
    assert_eq!(option(Side::Theirs, Known::Binary, true), Some((2, &[1][..])));
    assert_eq!(Change::EndOfRecord.event(), Some((3, &[][..])));
    assert_eq!(Change::Utf8.event(), Some((4, &b"UTF-8"[..])));
    for quiet in [option(Side::Ours, Known::Binary, true), option(Side::Ours, Known::WindowSize, true)] {
        assert_eq!(quiet, None);
    }
    assert_eq!(Change::Spoken.event(), None);
}

#[test]
fn what_is_on_is_told_to_whoever_asks() {
    let mut telnet = Telnet::new(Mode::Auto, Terminal::default());
    assert_eq!(telnet.changes().count(), 0);
    receive(&mut telnet, &[IAC, WILL, ECHO, IAC, WILL, SGA, IAC, DO, TERMINAL_TYPE, IAC, WONT, SGA]);
    let on = |side, known| Change::Option { side, known, on: true };
    assert!(telnet.changes().eq([Change::Spoken, on(Side::Ours, Known::TerminalType), on(Side::Theirs, Known::Echo)]));
}

#[test]
fn the_terminals_name_is_told_when_it_is_asked_for_and_was_agreed() {
    let question = sub(TERMINAL_TYPE, &[1]);
    let mut telnet = Telnet::new(Mode::On, Terminal::new("xterm-256color", 80, 24));
    assert_eq!(receive(&mut telnet, &question), Received::default(), "not agreed");
    receive(&mut telnet, &[IAC, DO, TERMINAL_TYPE]);
    let answer = sub(TERMINAL_TYPE, b"\0XTERM-256COLOR");
    // The same name twice: there is no other (RFC 1091).
    assert_eq!(receive(&mut telnet, &question).answers, answer);
    assert_eq!(receive(&mut telnet, &question).answers, answer);
    for strange in [sub(TERMINAL_TYPE, &[]), sub(TERMINAL_TYPE, &[0]), sub(TERMINAL_TYPE, &[1, 1])] {
        assert_eq!(receive(&mut telnet, &strange), Received::default());
    }
    for (name, told) in [("", "UNKNOWN"), ("a b\u{e9}\n\u{7f}c", "ABC"), (&"x".repeat(99), &"X".repeat(40))] {
        let mut telnet = Telnet::new(Mode::On, Terminal::new(name, 80, 24));
        let answers = receive(&mut telnet, &[&[IAC, DO, TERMINAL_TYPE], &question[..]].concat()).answers;
        assert_eq!(answers[3..], sub(TERMINAL_TYPE, format!("\0{told}").as_bytes()));
    }
}

#[test]
fn of_character_sets_utf_8_is_taken() {
    let accepted = sub(CHARSET, b"\x02UTF-8");
    let rejected = sub(CHARSET, b"\x03");
    for (request, answer) in [
        (&b"\x01;UTF-8"[..], &accepted),
        (b"\x01;ISO-8859-1;UTF-8;US-ASCII", &accepted),
        (b"\x01 US-ASCII UTF-8", &accepted),
        (b"\x01[TTABLE]\x01;UTF-8", &accepted),
        (b"\x01;utf-8", &sub(CHARSET, b"\x02utf-8")),
        (b"\x01;UTF-80", &rejected),
        (b"\x01;US-ASCII", &rejected),
        (b"\x01UTF-8", &rejected),
        (b"\x01;", &rejected),
        (b"\x01", &rejected),
        (b"\x01[TTABLE]", &rejected),
        (b"\x02UTF-8", &Vec::new()),
        (b"", &Vec::new()),
    ] {
        let request = sub(CHARSET, request);
        assert_eq!(receive(&mut spoken(), &request), Received::default(), "not agreed");
        for verb in [DO, WILL] {
            let mut telnet = spoken();
            receive(&mut telnet, &[IAC, verb, CHARSET]);
            let received = receive(&mut telnet, &request);
            assert_eq!(received.answers, *answer, "{request:?}");
            let taken = answer.starts_with(&accepted[..4]);
            assert_eq!(received.events, Vec::from_iter(taken.then_some(Event { at: 0, change: Change::Utf8 })));
        }
    }
}

#[test]
fn in_binary_a_cr_means_nothing() {
    let mut telnet = spoken();
    assert_eq!(receive(&mut telnet, &[b'\r', IAC, WILL, BINARY, 0, b'\r', 0, IAC, IAC]).clean, b"\r\0\r\0\xff");
    assert_eq!(receive(&mut telnet, &[b'\r', IAC, WONT, BINARY, 0, b'\r', 0]).clean, b"\r\0\r");
    // One way is not the other.
    let mut telnet = spoken();
    assert_eq!(receive(&mut telnet, &[IAC, DO, BINARY, b'\r', 0]).clean, b"\r");
}

#[test]
fn an_option_that_we_asked_off_is_in_force_until_the_answer() {
    let mut telnet = spoken();
    receive(&mut telnet, &[IAC, WILL, BINARY]);
    let mut received = Received::default();
    telnet.request(Side::Theirs, Known::Binary, false, &mut received);
    assert_eq!((received.answers, received.events), (vec![IAC, DONT, BINARY], vec![]));
    let received = receive(&mut telnet, &[b'\r', 0, IAC, WONT, BINARY, b'\r', 0]);
    assert_eq!(received.clean, b"\r\0\r");
    assert_eq!((received.answers, received.events), (vec![], vec![option(2, Side::Theirs, Known::Binary, false)]));
}

#[test]
fn an_option_of_ours_that_we_switch_off_is_off_at_once() {
    let mut telnet = spoken();
    receive(&mut telnet, &[IAC, DO, BINARY]);
    let mut received = Received::default();
    telnet.request(Side::Ours, Known::Binary, false, &mut received);
    let event = option(0, Side::Ours, Known::Binary, false);
    assert_eq!((received.answers, received.events), (vec![IAC, WONT, BINARY], vec![event]));
    assert_eq!(send(&mut telnet, b"\r"), b"\r\n");
    assert_eq!(receive(&mut telnet, &[IAC, DONT, BINARY]), Received::default());
    let mut received = Received::default();
    telnet.request(Side::Ours, Known::Echo, true, &mut received);
    assert_eq!(received, Received::default(), "nothing is asked for that is not agreed to");
}

#[test]
fn a_sub_negotiation_ends_somehow() {
    // Empty, of an option that is doubled, of one that nobody knows.
    let mut bytes = [&[IAC, SB, IAC, SE][..], b"a", &[IAC, SB, IAC, IAC, 1, IAC, SE], b"b"].concat();
    bytes.extend([&sub(99, &[1, 2, 3])[..], b"c"].concat());
    assert_eq!(receive(&mut spoken(), &bytes), Received { clean: b"abc".to_vec(), ..Received::default() });
    // Its end is missing: the next command is one.
    let mut telnet = spoken();
    let bytes = [&[IAC, DO, TERMINAL_TYPE, IAC, SB, TERMINAL_TYPE, 1, IAC, WILL, ECHO][..], b"a"].concat();
    let received = receive(&mut telnet, &bytes);
    assert_eq!((received.clean, received.answers), (b"a".to_vec(), vec![IAC, WILL, TERMINAL_TYPE, IAC, DO, ECHO]));
    // An end of none.
    assert_eq!(receive(&mut spoken(), &[IAC, SE, b'a']).clean, b"a");
}

#[test]
fn a_sub_negotiation_without_an_end_takes_neither_room_nor_all_that_follows() {
    for filling in [b'x', IAC] {
        let mut telnet = spoken();
        receive(&mut telnet, &[IAC, SB, CHARSET]);
        let mut clean = 0;
        for _ in 0..1024 {
            clean += receive(&mut telnet, &[filling; 1024]).clean.len();
            assert!(telnet.sub.capacity() <= 2 * super::super::LONGEST_SUB_NEGOTIATION);
        }
        // The option is one of its bytes, and the one at which it ends is lost.
        let bytes = if filling == IAC { 1 << 19 } else { 1 << 20 };
        assert_eq!(clean, bytes - super::super::LONGEST_SUB_NEGOTIATION);
        assert_eq!(telnet.sub.capacity(), 0);
    }
    // The longest that has an effect.
    let offer = [b"\x01;UTF-8;", &b"x".repeat(4096 - 9)[..]].concat();
    let mut telnet = spoken();
    receive(&mut telnet, &[IAC, DO, CHARSET]);
    assert_eq!(receive(&mut telnet, &sub(CHARSET, &offer)).answers, sub(CHARSET, b"\x02UTF-8"));
    let received = receive(&mut telnet, &sub(CHARSET, &[&offer[..], b"x"].concat()));
    assert_eq!(received, Received::default());
}
