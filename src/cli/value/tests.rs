//! What is read, what is refused in which words, and that what is written is read back.

use std::fmt::{Debug, Display};

use super::*;

fn parse<T: FromStr<Err = ValueError>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refusal<T: FromStr<Err = ValueError> + Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(&format!("{text:?} is no such value")).to_string()
}

/// Reads a text, compares the canonical one, and reads that back.
fn written<T: FromStr<Err = ValueError> + Debug + Display + PartialEq>(text: &str, canonical: &str) {
    let value: T = parse(text);
    assert_eq!(value.to_string(), canonical);
    assert_eq!(parse::<T>(canonical), value);
}

#[test]
fn times_are_numbers_with_a_unit() {
    let time = |text: &str| parse::<Time>(text).duration();
    assert_eq!(time("250ms"), Duration::from_millis(250));
    assert_eq!(time("10s"), Duration::from_secs(10));
    assert_eq!(time("10"), Duration::from_secs(10));
    assert_eq!(time("5m"), Duration::from_secs(300));
    assert_eq!(time("1h"), Duration::from_secs(3600));
    assert_eq!(time("0"), Duration::ZERO);
    assert_eq!(time("0ms"), Duration::ZERO);
    assert_eq!(time("007"), Duration::from_secs(7));
    assert_eq!(time("1.5s"), Duration::from_millis(1500));
    assert_eq!(time("1.5"), Duration::from_millis(1500));
    assert_eq!(time("0.25h"), Duration::from_secs(900));
    assert_eq!(time("0.000001ms"), Duration::from_nanos(1));
    assert_eq!(time("0.1s"), Duration::from_millis(100));
    assert_eq!(time(&format!("0.5{}s", "0".repeat(100))), Duration::from_millis(500));
    assert_eq!(time(&format!("0.{}h", "3".repeat(100))), Duration::from_nanos(1_199_999_999_999));
}

#[test]
fn texts_that_are_no_times_are_refused() {
    for text in [
        "", " ", "s", "ms", "-1", "-1s", "+1s", "1 s", " 1s", "1s ", "1d", "1us", "1S", "1M", "1min", "1sec", ".5s",
        "5.s", "5.", ".", "1.2.3s", "1,5s", "1e3", "inf", "NaN", "0x10", "never", "1s1", "1h30m", "١s", "1s\n",
    ] {
        let shown = text.escape_debug();
        let expected = format!("not a time: '{shown}'; expected 250ms, 10s, 5m, 1h or a number of seconds");
        assert_eq!(refusal::<Time>(text), expected);
    }
}

#[test]
fn times_beyond_every_life_are_refused() {
    assert_eq!(parse::<Time>("1000000h").duration(), LONGEST);
    assert_eq!(parse::<Time>("3600000000").duration(), LONGEST);
    let long = "9".repeat(60);
    for text in ["1000000.1h", "3600000001s", "1000001h", "99999999999999999999", "18446744073709551616ms", &long] {
        assert_eq!(refusal::<Time>(text), format!("too long a time: '{text}'; expected at most 1000000h"));
        assert_eq!(refusal::<TimeOrNever>(text), refusal::<Time>(text));
    }
    // What is allowed can be waited for.
    assert!(std::time::Instant::now().checked_add(LONGEST).is_some());
}

#[test]
fn times_survive_being_written_and_read() {
    for (text, canonical) in [
        ("0", "0s"),
        ("250ms", "250ms"),
        ("1000ms", "1s"),
        ("10", "10s"),
        ("60", "1m"),
        ("90s", "90s"),
        ("120m", "2h"),
        ("1.5s", "1500ms"),
        ("1.5ms", "1.5ms"),
        ("0.000001ms", "0.000001ms"),
        ("0.0000000001ms", "0s"),
        ("1000000h", "1000000h"),
        ("1.234567891s", "1234.567891ms"),
    ] {
        written::<Time>(text, canonical);
        written::<TimeOrNever>(text, canonical);
    }
    // Steps of many sizes.
    let mut nanoseconds: u64 = 1;
    while Duration::from_nanos(nanoseconds) <= LONGEST {
        let time = Time(Duration::from_nanos(nanoseconds));
        assert_eq!(parse::<Time>(&time.to_string()), time);
        nanoseconds = nanoseconds + nanoseconds / 7 + 1;
    }
}

#[test]
fn never_is_no_limit() {
    assert_eq!(parse::<TimeOrNever>("never").limit(), None);
    assert_eq!(parse::<TimeOrNever>("30s").limit(), Some(Duration::from_secs(30)));
    written::<TimeOrNever>("never", "never");
    for text in ["Never", "never ", "", "none", "-1"] {
        let expected = format!("not a time: '{text}'; expected 250ms, 10s, 5m, 1h, a number of seconds or never");
        assert_eq!(refusal::<TimeOrNever>(text), expected);
    }
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
