//! Whether a destination speaks telnet, found out from the first that it says. Pure.

use super::option::{self, Side};
use super::words::{IAC, heard};

/// A negotiation must begin within so many bytes; a destination that has said more without one does not speak telnet.
pub(super) const FIRST: usize = 1024;

/// Looks for the first negotiation. All else passes, but for what may be the beginning of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Detection {
    pub(super) seen: usize,
    pub(super) place: Place,
}

/// What the last bytes were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Place {
    #[default]
    Text,
    Command,
    Option {
        verb: u8,
        side: Side,
        on: bool,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing yet.
    Nothing,
    /// The first negotiation; the bytes after it are telnet.
    Telnet {
        /// Whose option it is about.
        side: Side,
        /// What it says.
        on: bool,
        /// The option's number.
        option: u8,
    },
    /// It does not speak telnet; the bytes from here on are not to be touched.
    Plain,
}

impl Detection {
    /// Takes bytes until it is clear what they are, and says how many it has taken. Those that are no negotiation are
    /// added to `clean`.
    pub(super) fn look(&mut self, bytes: &[u8], clean: &mut Vec<u8>) -> (usize, Sight) {
        for (index, byte) in bytes.iter().copied().enumerate() {
            if matches!(self.place, Place::Text) && self.seen >= FIRST {
                return (index, Sight::Plain);
            }
            self.seen += 1;
            self.place = match (self.place, byte, heard(byte)) {
                (Place::Text, IAC, _) => Place::Command,
                (Place::Command, _, Some((side, on))) => Place::Option { verb: byte, side, on },
                (Place::Option { side, on, .. }, option, _) if option::in_use(option) => {
                    return (index + 1, Sight::Telnet { side, on, option });
                }
                // No negotiation after all, but another may begin with this very byte.
                (place @ Place::Option { .. }, IAC, _) => {
                    clean.extend(place.held());
                    Place::Command
                }
                (place, byte, _) => {
                    clean.extend(place.held());
                    clean.push(byte);
                    Place::Text
                }
            };
        }
        (bytes.len(), Sight::Nothing)
    }

    /// Whether bytes are held back.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.place, Place::Text)
    }

    /// Lets the bytes go that are held back: they were no negotiation.
    pub(super) fn release(&mut self, clean: &mut Vec<u8>) {
        clean.extend(std::mem::take(&mut self.place).held());
    }
}

impl Place {
    fn held(self) -> impl Iterator<Item = u8> {
        let held = match self {
            Place::Text => [None, None],
            Place::Command => [Some(IAC), None],
            Place::Option { verb, .. } => [Some(IAC), Some(verb)],
        };
        held.into_iter().flatten()
    }
}
