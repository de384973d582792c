//! Places for pairs, each known by a number that is never used twice.

use super::pair::Pair;

/// Names a pair of one loop, and after its end nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PairId {
    place: u32,
    turn: u32,
}

#[derive(Debug, Default)]
struct Place {
    turn: u32,
    pair: Option<Box<Pair>>,
}

/// The pairs of a loop.
#[derive(Debug, Default)]
pub(super) struct Slab {
    places: Vec<Place>,
    free: Vec<u32>,
}

impl Slab {
    /// Names a place for a pair that is about to be made.
    pub(super) fn reserve(&mut self) -> PairId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        PairId { place, turn: self.places[place as usize].turn }
    }

    /// Takes a pair out to work with it; none if it has ended.
    pub(super) fn take(&mut self, id: PairId) -> Option<Box<Pair>> {
        self.places.get_mut(id.place as usize).filter(|place| place.turn == id.turn)?.pair.take()
    }

    /// Looks at a pair where it is; none if it has ended.
    pub(super) fn get_mut(&mut self, id: PairId) -> Option<&mut Pair> {
        self.places.get_mut(id.place as usize).filter(|place| place.turn == id.turn)?.pair.as_deref_mut()
    }

    /// Puts a pair into its place, or back into it.
    pub(super) fn put(&mut self, id: PairId, pair: Box<Pair>) {
        if let Some(place) = self.places.get_mut(id.place as usize) {
            place.pair = Some(pair);
        }
    }

    /// The place is free again; late events for its former pair meet nobody.
    pub(super) fn free(&mut self, id: PairId) {
        if let Some(place) = self.places.get_mut(id.place as usize) {
            place.turn = place.turn.wrapping_add(1);
            place.pair = None;
            self.free.push(id.place);
        }
    }

    /// All pairs with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PairId, &Pair)> {
        self.places.iter().enumerate().filter_map(|(number, place)| {
            let id = PairId { place: number as u32, turn: place.turn };
            place.pair.as_deref().map(|pair| (id, pair))
        })
    }
}
