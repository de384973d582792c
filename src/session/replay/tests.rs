//! What is kept, what is dropped, and that every byte is where its offset says.

use super::{GROWTH, Replay};

/// The byte at an offset: no short period, so that a shift shows.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn pattern(from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64).map(byte).collect()
}

fn all(replay: &Replay, from: u64, most: usize) -> Vec<u8> {
    let (front, back) = replay.parts(from, most);
    [front, back].concat()
}

#[test]
fn what_is_acknowledged_is_dropped_but_for_the_scrollback() {
    let mut replay = Replay::new(10);
    replay.push(&pattern(0, 100));
    assert_eq!((replay.base(), replay.acknowledged(), replay.next(), replay.waiting()), (0, 0, 100, 100));
    assert!(replay.acknowledge(5));
    assert_eq!((replay.base(), replay.waiting()), (0, 95));
    assert!(replay.acknowledge(60));
    assert_eq!((replay.base(), replay.acknowledged(), replay.waiting()), (50, 60, 40));
    assert_eq!(all(&replay, 50, 1000), pattern(50, 50));
    assert!(replay.acknowledge(20), "an old acknowledgement is no error");
    assert_eq!((replay.base(), replay.acknowledged()), (50, 60));
    assert!(!replay.acknowledge(101), "what there never was is one");
    assert_eq!((replay.base(), replay.acknowledged()), (50, 60));
    replay.keep(0);
    assert_eq!((replay.base(), replay.waiting()), (60, 40));
    assert!(replay.acknowledge(100));
    assert_eq!((replay.base(), replay.next(), replay.waiting()), (100, 100, 0));
}

#[test]
fn what_is_not_to_be_had_is_nothing() {
    let mut replay = Replay::new(0);
    replay.push(&pattern(0, 10));
    replay.acknowledge(4);
    assert!(all(&replay, 3, 10).is_empty());
    assert!(all(&replay, 11, 10).is_empty());
    assert!(all(&replay, 10, 10).is_empty());
    assert_eq!(all(&replay, 4, 3), pattern(4, 3));
    assert!(all(&replay, u64::MAX, 3).is_empty());
}

#[test]
fn every_byte_stays_where_its_offset_says() {
    let mut state = 1_u64;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut replay = Replay::new(700);
    for _ in 0..4000 {
        let length = random(300) as usize;
        replay.push(&pattern(replay.next(), length));
        let acknowledged = replay.acknowledged() + random(replay.waiting() as u64 + 1);
        assert!(replay.acknowledge(acknowledged));
        assert!(replay.acknowledged() - replay.base() <= 700);
        assert_eq!(replay.acknowledged().min(700), replay.acknowledged() - replay.base());
        let from = replay.base() + random(replay.next() - replay.base() + 1);
        let most = random(2000) as usize;
        let expected = pattern(from, most.min((replay.next() - from) as usize));
        assert_eq!(all(&replay, from, most), expected);
    }
}

#[test]
fn little_memory_is_had_in_vain() {
    let mut replay = Replay::new(0);
    assert_eq!(replay.memory(), 0);
    for _ in 0..256 {
        replay.push(&[7; 4096]);
        let needed = replay.waiting();
        assert!(replay.memory() <= needed + needed / 8 + 2 * GROWTH, "{} for {needed}", replay.memory());
    }
    replay.acknowledge(replay.next());
    assert!(replay.memory() <= 2 * GROWTH, "{} for nothing", replay.memory());
}
