//! docs/protocol.md says what a handoff sends, and docs/handoff.md what there is.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use socket_protector_client::handoff::{
    DEFAULT_DESCRIPTORS, DEFAULT_MESSAGE, DEFAULT_MOST_RECEIVED, frame, gob, key_value,
};

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The section of the page about the wire.
fn section() -> String {
    let page = page("protocol.md");
    let from = page.split("## Handoff, byte by byte").nth(1).unwrap();
    from.split("\n# ").next().unwrap().to_owned()
}

fn vectors(section: &str) -> Vec<Vec<u8>> {
    let table = section.split("| bytes | meaning |").nth(1).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let bytes = |cell: &str| {
        let words = cell.split(' ').filter(|word| *word != "·");
        words.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    cells.map(bytes).collect()
}

#[test]
fn the_golden_vectors_are_what_is_sent() {
    let mut message = Vec::new();
    frame::append(&mut message, b"");
    frame::append(&mut message, b"hi");
    let key_value = |pairs: &[(&str, &str)]| {
        let mut map = Vec::new();
        key_value::encode(pairs, &mut map).unwrap();
        map
    };
    let gob = |pairs: &[(&str, gob::Value)]| {
        gob::encode(&pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.clone())).collect())
    };
    let expected = [
        message,
        key_value(&[("name", "x"), ("kind", "tcp")]),
        key_value(&[]),
        gob(&[]),
        gob(&[("name", "x".into())]),
        gob(&[("k", gob::Value::Int(1))]),
    ];
    assert_eq!(vectors(&section()), expected);
}

#[test]
fn the_limits_are_those_of_the_page() {
    let limits = format!("{DEFAULT_MESSAGE} bytes and {DEFAULT_DESCRIPTORS} descriptors in a message");
    assert!(section().contains(&limits));
    assert!(section().contains("up to 1 MiB"));
    assert_eq!(DEFAULT_MOST_RECEIVED, 1 << 20);
    assert!(page("handoff.md").contains(&format!("room for {} bytes", DEFAULT_MESSAGE - frame::HEADER)));
}
