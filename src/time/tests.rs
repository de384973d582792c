//! What is read, what is refused in which words, and that what is written is read back.

use std::fmt::{Debug, Display};

use super::*;

fn parse<T: FromStr<Err = TimeError>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn refusal<T: FromStr<Err = TimeError> + Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(&format!("{text:?} is no such value")).to_string()
}

/// Reads a text, compares the canonical one, and reads that back.
fn written<T: FromStr<Err = TimeError> + Debug + Display + PartialEq>(text: &str, canonical: &str) {
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
