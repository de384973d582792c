//! Values come back as they were written, and what is none is refused.

use super::{FORM, Form, FormError, MOST, Reader, Writer};
use crate::session::frame::{Decoder, Frame, MAX_PAYLOAD, MAX_UNPROVED};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, Instant};

fn written(value: &impl Form, now: Instant) -> Vec<u8> {
    let mut to = Writer::new(now);
    value.write(&mut to);
    to.into_bytes()
}

fn read<T: Form>(bytes: &[u8], now: Instant) -> Result<T, FormError> {
    let mut from = Reader::new(bytes, now)?;
    let value = T::read(&mut from)?;
    from.end().map(|()| value)
}

fn comes_back<T: Form + PartialEq + Debug>(value: &T) {
    let now = Instant::now();
    let bytes = written(value, now);
    assert_eq!(read::<T>(&bytes, now).as_ref(), Ok(value));
    for length in 0..bytes.len() {
        assert!(read::<T>(&bytes[..length], now).is_err(), "{value:?}: {length} of {}", bytes.len());
    }
    assert_eq!(read::<T>(&[&bytes[..], &[0]].concat(), now), Err(FormError::Long(1)));
}

#[test]
fn values_come_back() {
    comes_back(&7_u8);
    comes_back(&0x1234_u16);
    comes_back(&u32::MAX);
    comes_back(&(MOST - 1));
    comes_back(&(true, false));
    comes_back(&Some(Some(b"bytes".to_vec())));
    comes_back(&Some(None::<u8>));
    comes_back(&"text\u{e9}".to_owned());
    comes_back(&[1_u8, 2, 3]);
    comes_back(&Duration::from_nanos(1_234_567_890_123));
    comes_back(&(Instant::now() + Duration::from_secs(7)));
    comes_back(&(Instant::now() - Duration::from_millis(7)));
    comes_back(&"192.0.2.1".parse::<IpAddr>().unwrap());
    comes_back(&"2001:db8::1".parse::<IpAddr>().unwrap());
}

#[test]
fn what_is_no_value_is_refused() {
    let now = Instant::now();
    let all = |rest: &[u8]| [&[FORM], rest].concat();
    assert_eq!(read::<u64>(&all(&[0xff; 8]), now), Err(FormError::Value { what: "a number", value: u64::MAX }));
    assert_eq!(read::<bool>(&all(&[2]), now), Err(FormError::Value { what: "yes or no", value: 2 }));
    assert_eq!(read::<IpAddr>(&all(&[5, 1, 2, 3, 4]), now), Err(FormError::Value { what: "an address", value: 5 }));
    assert_eq!(read::<String>(&all(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff]), now), Err(FormError::Unfit("a text")));
    assert_eq!(read::<u8>(&[], now), Err(FormError::Short));
    assert_eq!(read::<u8>(&[FORM + 1, 0], now), Err(FormError::Form(FORM + 1)));
    // A length is no reason to have room for it.
    let endless = all(&[&(MOST - 1).to_be_bytes()[..], b"few"].concat());
    assert_eq!(read::<Vec<u8>>(&endless, now), Err(FormError::Short));
}

#[test]
fn times_mean_the_same_where_the_clock_begins_elsewhere() {
    let (here, there) = (Instant::now(), Instant::now() + Duration::from_secs(1000));
    for time in [here + Duration::from_secs(5), here - Duration::from_secs(5), here] {
        let read = read::<Instant>(&written(&time, here), there).unwrap();
        assert_eq!(read, time + Duration::from_secs(1000) + (there - here - Duration::from_secs(1000)));
    }
}

#[test]
fn half_a_frame_is_gone_on_with() {
    let now = Instant::now();
    let mut frame = Vec::new();
    Frame::Data { offset: 7, bytes: b"bytes" }.encode(&mut frame);
    for (cut, proved) in (0..=frame.len()).flat_map(|cut| [(cut, false), (cut, true)]) {
        let mut decoder = Decoder::new();
        if proved {
            decoder.proved();
        }
        decoder.feed(&frame[..cut]);
        let mut decoder = read::<Decoder>(&written(&decoder, now), now).unwrap();
        decoder.feed(&frame[cut..]);
        assert!(matches!(decoder.frame(), Ok(Some(Frame::Data { offset: 7, bytes: b"bytes" }))), "{cut}");
    }
}

#[test]
fn whoever_has_proved_nothing_may_say_no_more_in_the_other_process() {
    let now = Instant::now();
    let mut decoder = Decoder::new();
    decoder.feed(&vec![0x80; MAX_UNPROVED - 1]);
    let mut decoder = read::<Decoder>(&written(&decoder, now), now).unwrap();
    assert_eq!(decoder.feed(b"two"), 1);
    // Nor may anybody have said more than any frame has.
    let said = |unproved: Option<usize>, count: usize| {
        let mut to = Writer::new(now);
        unproved.write(&mut to);
        vec![0_u8; count].write(&mut to);
        read::<Decoder>(&to.into_bytes(), now).map(|decoder| decoder.held())
    };
    assert_eq!(said(Some(10), MAX_UNPROVED - 10), Ok(MAX_UNPROVED - 10));
    assert_eq!(said(Some(10), MAX_UNPROVED - 9), Err(FormError::Unfit("what a client has said")));
    assert_eq!(said(Some(MAX_UNPROVED + 1), 0), Err(FormError::Unfit("what a client has said")));
    assert_eq!(said(None, MAX_PAYLOAD + 5), Err(FormError::Unfit("what a client has said")));
}
