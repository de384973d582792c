//! What a destination may send: never a panic, the same text however it is cut, and answers within their bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_protector::session::telnet::{MOST_ANSWERED, Mode, Received, Telnet, Terminal};

fuzz_target!(|input: (bool, &[u8])| {
    let (on, bytes) = input;
    let new = || Telnet::new(if on { Mode::On } else { Mode::Auto }, Terminal::default());
    let mut whole = Received::default();
    new().receive(bytes, &mut whole);
    let (mut parts, mut telnet) = (Received::default(), new());
    for byte in bytes {
        telnet.receive(&[*byte], &mut parts);
    }
    assert_eq!(parts, whole);
    assert!(whole.clean.len() <= bytes.len());
    assert!(whole.answers.len() <= MOST_ANSWERED * bytes.len());
    let mut sent = Vec::new();
    telnet.send(bytes, &mut sent);
    assert!(sent.len() <= 2 * bytes.len());
});
