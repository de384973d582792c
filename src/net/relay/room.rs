//! What a connection takes of what there are only so many of: descriptors for both of its sockets, and its place among the
//! connections.

use std::fmt;

use super::event_loop::Shared;
use crate::net::descriptors::Taken;

/// Its two sockets.
const SOCKETS: usize = 2;

/// Why there is no room for a further connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// No descriptor is free.
    Descriptors,
    /// There are as many connections as there may be.
    Connections,
}

/// What a connection has taken, as long as this lives.
#[derive(Debug)]
pub(super) struct Room {
    _descriptors: Taken,
    _place: Option<Taken>,
}

impl Shared {
    /// Room for a connection, if there is some.
    pub(super) fn room(&self) -> Result<Room, Shortage> {
        let place = match &self.places {
            Some(places) => Some(places.take(1).ok_or(Shortage::Connections)?),
            None => None,
        };
        let descriptors = self.descriptors.take(SOCKETS).ok_or(Shortage::Descriptors)?;
        Ok(Room { _descriptors: descriptors, _place: place })
    }

    /// Room for one that is there already.
    pub(super) fn room_anyway(&self) -> Room {
        let place = self.places.as_ref().map(|places| places.take_anyway(1));
        Room { _descriptors: self.descriptors.take_anyway(SOCKETS), _place: place }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shortage::Descriptors => "out of descriptors",
            Shortage::Connections => "as many connections as there may be",
        })
    }
}
