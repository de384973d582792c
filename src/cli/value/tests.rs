//! What is read, what is refused in which words, and that what is written is read back.

use std::fmt::{Debug, Display};

use super::*;

fn parse<T: FromStr<Err = ValueError>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refusal<T: FromStr<Err: Display> + Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(&format!("{text:?} is no such value")).to_string()
}

/// Reads a text, compares the canonical one, and reads that back.
fn written<T: FromStr<Err = ValueError> + Debug + Display + PartialEq>(text: &str, canonical: &str) {
    let value: T = parse(text);
    assert_eq!(value.to_string(), canonical);
    assert_eq!(parse::<T>(canonical), value);
}

#[test]
fn delays_have_a_first_and_a_longest() {
    let range = parse::<DelayRange>("100ms..30s");
    assert_eq!((range.min(), range.max()), (Duration::from_millis(100), Duration::from_secs(30)));
    written::<DelayRange>("100ms..30s", "100ms..30s");
    written::<DelayRange>("1..60", "1s..1m");
    written::<DelayRange>("1.5..1.5", "1500ms..1500ms");
    for text in ["", "1s", "1s-2s", "1s.2s", "never"] {
        let expected = format!("not a range of delays: '{text}'; expected MIN..MAX, such as 100ms..30s");
        assert_eq!(refusal::<DelayRange>(text), expected);
    }
    for (text, time) in
        [("..", ""), ("1s..", ""), ("..1s", ""), ("1s...5s", ".5s"), ("1s..2s..3s", "2s..3s"), ("1s..never", "never")]
    {
        assert_eq!(refusal::<DelayRange>(text), refusal::<Time>(time));
    }
    assert_eq!(refusal::<DelayRange>("0..1s"), "not a range of delays: '0..1s'; expected a MIN above 0");
    assert_eq!(
        refusal::<DelayRange>("2s..1s"),
        "not a range of delays: '2s..1s'; expected a MIN that is not above MAX"
    );
    assert_eq!(refusal::<DelayRange>("1s..1000001h"), refusal::<Time>("1000001h"));
}

#[test]
fn counts_are_numbers_or_never() {
    assert_eq!(parse::<CountOrNever>("5").limit(), Some(5));
    assert_eq!(parse::<CountOrNever>("4294967295").limit(), Some(u32::MAX));
    assert_eq!(parse::<CountOrNever>("never").limit(), None);
    written::<CountOrNever>("never", "never");
    written::<CountOrNever>("007", "7");
    written::<CountOrNever>("0", "0");
    for text in ["", "-1", "+1", "1.5", "4294967296", "many", "Never", " 1", "1 "] {
        let expected = format!("not a count: '{text}'; expected a number from 0 to 4294967295 or never");
        assert_eq!(refusal::<CountOrNever>(text), expected);
    }
}

#[test]
fn signals_go_by_name_or_number() {
    for text in ["TERM", "SIGTERM", "15", "term", "sigterm", "SigTerm", "015"] {
        assert_eq!(parse::<DrainSignal>(text).signal(), Signal::SIGTERM);
        written::<DrainSignal>(text, "TERM");
    }
    for (text, signal) in [
        ("HUP", Signal::SIGHUP),
        ("int", Signal::SIGINT),
        ("QUIT", Signal::SIGQUIT),
        ("USR1", Signal::SIGUSR1),
        ("sigusr2", Signal::SIGUSR2),
        // Apache drains on this one.
        ("WINCH", Signal::SIGWINCH),
    ] {
        assert_eq!(parse::<DrainSignal>(text).signal(), signal);
    }
    // All but the two that no child notices.
    let written_back = Signal::iterator().filter(|signal| {
        signal
            .as_str()
            .parse::<DrainSignal>()
            .is_ok_and(|drain| drain.signal() == *signal && drain.to_string().parse() == Ok(drain))
    });
    assert_eq!(written_back.count(), Signal::iterator().count() - 2);
}

#[test]
fn what_is_no_drain_signal_is_refused() {
    for text in ["", "0", "-15", "+15", "999", "99999999999", "SIG", "SIG15", "SIGSIGTERM", "TERMINATE", " TERM", "é"]
    {
        let expected = format!("not a signal: '{text}'; expected a name or number such as TERM, SIGTERM or 15");
        assert_eq!(refusal::<DrainSignal>(text), expected);
    }
    for text in ["KILL", "sigkill", "9"] {
        let expected = "not a signal to drain on: KILL ends a child with the connections it has";
        assert_eq!(refusal::<DrainSignal>(text), expected);
    }
    for text in ["STOP", "SIGSTOP"] {
        let expected = "not a signal to drain on: STOP freezes a child with the connections it has";
        assert_eq!(refusal::<DrainSignal>(text), expected);
    }
}

#[test]
fn a_path_to_probe_is_what_fits_into_the_line_of_a_request() {
    for path in ["/", "/healthz", "/ready?deep=1&x=%20", "//a", "/~a:b@c;d"] {
        assert_eq!(path.parse::<ProbePath>().unwrap().to_string(), path);
    }
    for path in ["", "healthz", " /", "http://x/", "?"] {
        assert_eq!(path.parse::<ProbePath>(), Err(ValueError::PathStart(path.into())));
    }
    for (path, found, at) in
        [("/a b", ' ', 3), ("/\r\nX: y", '\r', 2), ("/ä", 'ä', 2), ("/\0", '\0', 2), ("/a\u{7f}", '\u{7f}', 3)]
    {
        assert_eq!(path.parse::<ProbePath>(), Err(ValueError::PathByte { text: path.into(), found, at }));
    }
    let said = "/a b".parse::<ProbePath>().unwrap_err().to_string();
    assert!(said.contains("position 3") && said.contains("expected"), "{said}");
    assert!("/".repeat(1024).parse::<ProbePath>().is_ok());
    assert_eq!("/".repeat(1025).parse::<ProbePath>(), Err(ValueError::PathLength(1025)));
}

#[test]
fn a_signal_to_end_on_is_any_that_can_end_a_process() {
    for (text, name) in [("TERM", "TERM"), ("sigint", "INT"), ("9", "KILL"), ("SIGUSR1", "USR1")] {
        assert_eq!(text.parse::<StopSignal>().unwrap().to_string(), name);
    }
    for text in ["STOP", "SIGCONT", "19"] {
        assert_eq!(text.parse::<StopSignal>(), Err(ValueError::NoEnd), "{text}");
    }
    assert_eq!("NONE".parse::<StopSignal>(), Err(ValueError::Signal("NONE".into())));
}
