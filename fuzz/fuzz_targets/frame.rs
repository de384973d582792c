//! Whatever the bytes: they are frames that come to the same bytes again, or they are refused, in bounded memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_protector::session::frame::Decoder;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (proved, size, bytes) = input;
    let mut decoder = Decoder::new();
    if proved {
        decoder.proved();
    } else {
        let mut first = Decoder::new();
        first.feed(bytes);
        let _ = first.preface();
    }
    for mut piece in bytes.chunks(usize::from(size).max(1)) {
        while !piece.is_empty() {
            let taken = decoder.feed(piece);
            piece = &piece[taken..];
            loop {
                match decoder.frame() {
                    Ok(Some(frame)) => {
                        let mut again = Vec::new();
                        frame.encode(&mut again);
                        let mut other = Decoder::new();
                        other.proved();
                        assert_eq!(other.feed(&again), again.len());
                        assert_eq!(other.frame(), Ok(Some(frame)));
                    }
                    Ok(None) => {
                        assert_ne!(taken, 0);
                        break;
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        return;
                    }
                }
            }
        }
    }
});
