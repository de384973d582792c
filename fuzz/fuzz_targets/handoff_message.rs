//! The bytes of a handoff's message: any are one, or the beginning of one, or an error. The first byte is the number of
//! descriptors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_protector_client::handoff::frame;

const MOST: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((count, bytes)) = input.split_first() else {
        return;
    };
    let count = usize::from(*count).max(1);
    match frame::missing(bytes, count, MOST) {
        Ok(0) => {
            let mut again = Vec::new();
            frame::entries(bytes).for_each(|metadata| frame::append(&mut again, metadata));
            assert_eq!(again, bytes);
            assert_eq!(frame::entries(bytes).count(), count);
        }
        Ok(missing) => assert!(bytes.len() + missing <= MOST.max(frame::HEADER * count)),
        Err(error) => drop(error.to_string()),
    }
});
