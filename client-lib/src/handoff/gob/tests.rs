use super::*;
use crate::handoff::random::Random;

/// The description of the type, 21 bytes, the same for every map that is written here.
const DESCRIPTION: &[u8] = b"\x14\xff\x81\x04\x01\x01\x04Meta\x01\xff\x82\x00\x01\x0c\x01\x10\x00\x00";

fn map(key: &str, value: Value) -> Map {
    Map::from([(key.as_bytes().to_vec(), value)])
}

/// What Go itself writes for these maps.
fn golden() -> Vec<(Map, &'static [u8])> {
    vec![
        (Map::new(), b"\x04\xff\x82\x00\x00"),
        (map("name", "x".into()), b"\x15\xff\x82\x00\x01\x04name\x06string\x0c\x03\x00\x01x"),
        (map("k", Value::Int(1)), b"\x0e\xff\x82\x00\x01\x01k\x03int\x04\x02\x00\x02"),
        (map("k", Value::Bool(true)), b"\x0f\xff\x82\x00\x01\x01k\x04bool\x02\x02\x00\x01"),
        (map("k", Value::Float64(1.5)), b"\x14\xff\x82\x00\x01\x01k\x07float64\x08\x04\x00\xfe\xf8\x3f"),
        (map("k", Value::Nil), b"\x07\xff\x82\x00\x01\x01k\x00"),
    ]
}

#[test]
fn the_golden_vectors_hold_both_ways() {
    for (map, value) in golden() {
        let bytes = [DESCRIPTION, value].concat();
        assert_eq!(encode(&map), bytes);
        assert_eq!(decode(&bytes), Ok(map));
    }
}

#[test]
fn a_value_of_more_than_127_bytes_has_a_longer_length() {
    let long = map("k", Value::String(vec![b'x'; 200]));
    let bytes = encode(&long);
    assert_eq!(bytes[DESCRIPTION.len()..][..2], [0xff, 0xdb]);
    assert_eq!(decode(&bytes), Ok(long));
}

#[test]
fn the_number_of_the_type_is_taken_from_the_stream() {
    let expected = map("k", Value::Int(1));
    // 66, as a process that has described another type before writes it, and 1000.
    let description = b"\x14\xff\x83\x04\x01\x01\x04Meta\x01\xff\x84\x00\x01\x0c\x01\x10\x00\x00";
    let value = b"\x0e\xff\x84\x00\x01\x01k\x03int\x04\x02\x00\x02";
    assert_eq!(decode(&[&description[..], value].concat()), Ok(expected.clone()));
    let description = b"\x16\xfe\x07\xcf\x04\x01\x01\x04Meta\x01\xfe\x07\xd0\x00\x01\x0c\x01\x10\x00\x00";
    let value = b"\x0f\xfe\x07\xd0\x00\x01\x01k\x03int\x04\x02\x00\x02";
    assert_eq!(decode(&[&description[..], value].concat()), Ok(expected.clone()));
    // Not the number that was described.
    let value = b"\x0e\xff\x86\x00\x01\x01k\x03int\x04\x02\x00\x02";
    assert_eq!(decode(&[DESCRIPTION, value].concat()), Err(GobError::NotTheMap));
    // A type without a name: a plain map[string]interface{}.
    let description = b"\x0e\xff\x81\x04\x01\x02\xff\x82\x00\x01\x0c\x01\x10\x00\x00";
    let value = b"\x0e\xff\x82\x00\x01\x01k\x03int\x04\x02\x00\x02";
    assert_eq!(decode(&[&description[..], value].concat()), Ok(expected));
}

#[test]
fn the_bounds_of_every_type_come_back() {
    let values = [
        Value::Int(i64::MIN),
        Value::Int(i64::MAX),
        Value::Int(-1),
        Value::Int64(i64::MIN),
        Value::Int64(0),
        Value::Uint(u64::MAX),
        Value::Uint(127),
        Value::Uint(128),
        Value::Float64(0.0),
        Value::Float64(f64::MIN_POSITIVE),
        Value::Float64(f64::NEG_INFINITY),
        Value::Bool(false),
        Value::Bytes(Vec::new()),
        Value::String(vec![0xff]),
    ];
    for value in values {
        let map = map("", value);
        assert_eq!(decode(&encode(&map)), Ok(map));
    }
}

#[test]
fn other_whole_numbers_of_go_are_read_by_their_size() {
    let value = b"\x10\xff\x82\x00\x01\x01k\x05int32\x04\x02\x00\x02";
    assert_eq!(decode(&[DESCRIPTION, value].concat()), Ok(map("k", Value::Int(1))));
}

#[test]
fn what_is_no_map_is_an_error() {
    let with = |value: &[u8]| decode(&[DESCRIPTION, value].concat());
    assert_eq!(decode(b""), Err(GobError::Short));
    assert_eq!(decode(b"\xf7"), Err(GobError::Number));
    assert_eq!(decode(DESCRIPTION), Err(GobError::Short));
    assert_eq!(with(b"\x04\xff\x82\x00\x00\x00"), Err(GobError::Surplus(1)));
    assert_eq!(with(b"\x05\xff\x82\x00\x00\x00"), Err(GobError::Surplus(1)));
    // More pairs than there are bytes.
    assert_eq!(with(b"\x0b\xff\x82\x00\xf8\xff\xff\xff\xff\xff\xff\xff"), Err(GobError::Short));
    assert_eq!(with(b"\x0c\xff\x82\x00\xf8\xff\xff\xff\xff\xff\xff\xff\xff"), Err(GobError::Short));
    // A complex number, and a Boolean that is 2.
    let complex = GobError::Type { name: "complex128".to_owned(), id: 7 };
    assert_eq!(with(b"\x16\xff\x82\x00\x01\x01k\x0acomplex128\x0e\x03\x00\x00\x00"), Err(complex));
    let boolean = GobError::Value { name: "bool".to_owned() };
    assert_eq!(with(b"\x0f\xff\x82\x00\x01\x01k\x04bool\x02\x02\x00\x02"), Err(boolean));
    // A map of another kind: from strings to strings.
    let description = b"\x14\xff\x81\x04\x01\x01\x04Meta\x01\xff\x82\x00\x01\x0c\x01\x0c\x00\x00";
    assert_eq!(decode(&[&description[..], b"\x04\xff\x82\x00\x00"].concat()), Err(GobError::NotTheMap));
}

fn random_value(random: &mut Random) -> Value {
    match random.below(8) {
        0 => Value::Nil,
        1 => Value::Bool(random.below(2) > 0),
        2 => Value::Int(random.next() as i64 >> random.below(64)),
        3 => Value::Int64(random.next() as i64 >> random.below(64)),
        4 => Value::Uint(random.next() >> random.below(64)),
        5 => Value::Float64(random.next() as f64 / 7.0),
        6 => Value::Bytes(random.bytes(200)),
        _ => Value::String(random.bytes(200)),
    }
}

#[test]
fn every_map_comes_back() {
    let mut random = Random::new(3);
    for _ in 0..3_000 {
        let count = random.below(9);
        let map: Map = (0..count).map(|_| (random.bytes(20), random_value(&mut random))).collect();
        assert_eq!(decode(&encode(&map)), Ok(map));
    }
}

#[test]
fn what_mutation_makes_of_a_map_is_a_map_or_an_error() {
    let mut random = Random::new(4);
    let originals: Vec<Vec<u8>> = golden().into_iter().map(|(map, _)| encode(&map)).collect();
    for _ in 0..60_000 {
        let original = &originals[random.below(originals.len())];
        let bytes = random.mutated(original);
        if let Ok(map) = decode(&bytes) {
            // NaN is not itself, but is written as it was read.
            assert_eq!(encode(&decode(&encode(&map)).unwrap()), encode(&map));
        }
    }
}
