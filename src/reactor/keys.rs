//! Tables by keys that are numbers of our own: tokens that count up, and the keys of a role.
//!
//! The standard hash resists keys that somebody outside chooses, at a price that would be paid for every event and for
//! every time that is set. Nobody outside chooses these.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table by such keys.
pub(super) type Keyed<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;

/// Odd, and without a pattern in its bits: the golden ratio's fraction.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// Multiplies, which carries every bit upwards, and folds the upper half of the product onto the lower one, so that tables
/// find differences in the lowest bits as well as in the highest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(FACTOR);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Mixer;
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault, Hash};

    #[derive(Hash)]
    enum Key {
        Client { place: u32, turn: u32 },
        Time { place: u32, turn: u32 },
    }

    /// How many of 1,024 places are taken by 1,024 keys, and how many of the 128 marks by which a table tells those of
    /// one place apart.
    fn spread<K: Hash>(keys: impl Iterator<Item = K>) -> (usize, usize) {
        let hashes: Vec<u64> = keys.map(|key| BuildHasherDefault::<Mixer>::default().hash_one(key)).collect();
        assert_eq!(hashes.len(), 1024);
        let places: HashSet<u64> = hashes.iter().map(|hash| hash % 1024).collect();
        let marks: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        (places.len(), marks.len())
    }

    #[test]
    fn counted_keys_spread_at_least_as_chance_would_have_it() {
        let turns =
            |turn: u32| (0..512).flat_map(move |place| [Key::Client { place, turn }, Key::Time { place, turn }]);
        let spreads = [
            spread(0..1024_usize),
            spread((0..1024_usize).map(|number| number + 1_000_000)),
            spread((0..1024_u64).map(|number| number << 32)),
            spread((0..1024_u16).map(|number| (3_u16, number))),
            spread(turns(0)),
            spread(turns(77)),
            spread((0..1024).map(|turn| Key::Client { place: 5, turn })),
        ];
        // Thrown by chance, 1,024 keys take 647 places and all marks.
        for (number, (places, marks)) in spreads.into_iter().enumerate() {
            assert!(places > 560 && marks > 96, "keys of kind {number}: {places} places, {marks} marks");
        }
    }
}
