//! Whatever the text: it is an endpoint whose canonical text is read back, or it is refused with its place.

#![no_main]

use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use socket_protector::net::endpoint::{Connect, Listen, NamedListen, ParseError};

fuzz_target!(|text: &str| {
    if let Some(listen) = read::<Listen>(text) {
        assert!(listen.same_place(&listen));
        if let Ok(absolute) = listen.with_paths_of(Path::new("/folder")) {
            assert_eq!(read::<Listen>(&absolute.to_string()), Some(absolute));
        }
    }
    if let Some(connect) = read::<Connect>(text)
        && let Ok(absolute) = connect.with_paths_of(Path::new("/folder"))
    {
        assert_eq!(read::<Connect>(&absolute.to_string()), Some(absolute));
    }
    if let Err(error) = text.parse::<NamedListen>() {
        told(&error);
    }
});

fn read<T: FromStr<Err = ParseError> + Clone + Debug + Display + PartialEq>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value));
            Some(value)
        }
        Err(error) => {
            told(&error);
            None
        }
    }
}

fn told(error: &ParseError) {
    assert!(!error.to_string().is_empty());
    assert_eq!(error.pointed().lines().count(), 2);
}
