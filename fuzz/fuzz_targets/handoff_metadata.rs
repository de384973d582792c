//! Metadata of a handoff: any bytes are recognised as something, and a map is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socket_protector_client::handoff::{Metadata, gob, key_value};

fuzz_target!(|bytes: &[u8]| {
    let metadata = Metadata::of(bytes);
    let _ = metadata.to_string();
    match metadata {
        Metadata::KeyValue(map) => {
            let mut again = Vec::new();
            key_value::encode(&map.iter().collect::<Vec<_>>(), &mut again).expect("it was a map");
            assert_eq!(again, bytes);
        }
        // Go's numbers have more than one way to be written, and NaN is not itself.
        Metadata::Gob(map) => {
            let written = gob::encode(&map);
            assert_eq!(gob::encode(&gob::decode(&written).expect("it was a map")), written);
        }
        _ => {}
    }
});
