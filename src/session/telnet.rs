//! Telnet between a session and its destination: commands are taken out of what the destination says and answered, also
//! while nobody is attached, so that a session's buffer holds nothing but text. RFC 854, 855 and 1143. Pure.
//!
//! We are the user's end. What is sent is always whole: answers and encoded input go to the destination one after the
//! other, in the order in which they are made.

mod detection;
pub mod negotiation;
pub mod option;
mod receiving;
mod words;
mod written;

#[cfg(test)]
mod tests;

use std::time::Duration;

use self::detection::{Detection, Sight};
use self::negotiation::Negotiation;
use self::option::{Known, Side};
use self::receiving::event;
use self::words::{AYT, BRK, CR, IAC, IP, LF, say, sub};
use crate::session::frame::{self, Command};

/// The most bytes of a sub-negotiation, its option included. One that has more ends there, without effect.
pub const LONGEST_SUB_NEGOTIATION: usize = 4096;
/// The longest name of a terminal (RFC 1091).
const LONGEST_NAME: usize = 40;
/// The name of a terminal that has none.
const NAMELESS: &str = "UNKNOWN";
/// For each byte received, at most so many have to be sent in answer. Whoever drives this does not read from a
/// destination that does not take its answers, so they cannot pile up.
pub const MOST_ANSWERED: usize = 8;
/// How long bytes may be [undecided](Telnet::is_undecided) before they are let go.
pub const UNDECIDED: Duration = Duration::from_millis(250);

/// Whether telnet is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// From the first negotiation on, if there is one in the first 1024 bytes that the destination says.
    #[default]
    Auto,
    /// From the beginning.
    On,
    /// Never: no byte is touched.
    Off,
}

/// The terminal that destinations are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    name: String,
    columns: u16,
    rows: u16,
}

impl Terminal {
    /// A terminal with this name, as in `TERM`, and size. What cannot be in a name is left out of it, and destinations
    /// see it in capitals, as is usual.
    pub fn new(name: &str, columns: u16, rows: u16) -> Terminal {
        let name: String = name.chars().filter(char::is_ascii_graphic).take(LONGEST_NAME).collect();
        let name = if name.is_empty() { NAMELESS.to_owned() } else { name.to_ascii_uppercase() };
        Terminal { name, columns, rows }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Terminal::new("xterm-256color", 80, 24)
    }
}

/// What came of bytes that a destination has sent. Everything is added to what is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What it says, without commands.
    pub clean: Vec<u8>,
    /// What has changed between the bytes of `clean`, in their order.
    pub events: Vec<Event>,
    /// What has to be sent to the destination.
    pub answers: Vec<u8>,
}

/// Something that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// How many bytes of [`Received::clean`] come before it.
    pub at: usize,
    /// What it is.
    pub change: Change,
}

/// What can change, or happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The destination speaks telnet.
    Spoken,
    /// An option is on or off from here on.
    Option {
        /// Whose behaviour it is about.
        side: Side,
        /// Which.
        known: Known,
        /// What it is now.
        on: bool,
    },
    /// The text is UTF-8 from here on.
    Utf8,
    /// A record ends here.
    EndOfRecord,
}

impl Change {
    /// As an event of the session protocol: its kind and its body. `None`: clients have no use for it.
    pub fn event(self) -> Option<(u8, &'static [u8])> {
        match self {
            Change::Option { side: Side::Theirs, known: Known::Echo, on } => Some((frame::event::ECHO, flag(on))),
            Change::Option { side: Side::Theirs, known: Known::Binary, on } => Some((frame::event::BINARY, flag(on))),
            Change::Utf8 => Some((frame::event::CHARSET, words::UTF_8)),
            Change::EndOfRecord => Some((frame::event::END_OF_RECORD, &[])),
            Change::Option { .. } | Change::Spoken => None,
        }
    }
}

/// A byte that says yes or no.
fn flag(on: bool) -> &'static [u8] {
    if on { &[1] } else { &[0] }
}

/// The state of telnet with one destination. It belongs to the session and knows nothing of clients.
#[derive(Clone, Debug)]
pub struct Telnet {
    speech: Speech,
    place: Place,
    negotiation: Negotiation,
    terminal: Terminal,
    /// We have offered to tell the window's size.
    offered: bool,
    /// The last byte of text that we received was a CR, whose NUL is to be left out.
    received_cr: bool,
    /// The last byte of text to be sent was a CR, whose LF is sent already.
    sent_cr: bool,
    /// The sub-negotiation as far as it has come, beginning with its option.
    sub: Vec<u8>,
}

/// Whether telnet is spoken, as far as is known.
#[derive(Clone, Debug)]
enum Speech {
    Looking(Detection),
    Telnet,
    Plain,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Text,
    Command,
    Option { side: Side, on: bool },
    Sub,
    SubCommand,
}

impl Telnet {
    /// Nothing has been said. Also where telnet is spoken from the beginning, the destination begins.
    pub fn new(mode: Mode, terminal: Terminal) -> Telnet {
        let speech = match mode {
            Mode::Auto => Speech::Looking(Detection::default()),
            Mode::On => Speech::Telnet,
            Mode::Off => Speech::Plain,
        };
        Telnet {
            speech,
            place: Place::Text,
            negotiation: Negotiation::default(),
            terminal,
            offered: false,
            received_cr: false,
            sent_cr: false,
            sub: Vec::new(),
        }
    }

    /// Whether telnet is spoken.
    pub fn is_spoken(&self) -> bool {
        matches!(self.speech, Speech::Telnet)
    }

    /// Whether an option is on.
    pub fn is_on(&self, side: Side, known: Known) -> bool {
        self.negotiation.is_on(side, known)
    }

    /// All that is on: the changes that lead from the beginning to here.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let sides = [Side::Ours, Side::Theirs].into_iter();
        let all = sides.flat_map(|side| Known::ALL.into_iter().map(move |known| (side, known)));
        let on = all.filter(|(side, known)| self.is_on(*side, *known));
        let options = on.map(|(side, known)| Change::Option { side, known, on: true });
        self.is_spoken().then_some(Change::Spoken).into_iter().chain(options)
    }

    /// Takes in what the destination has sent.
    pub fn receive(&mut self, bytes: &[u8], received: &mut Received) {
        let Speech::Looking(detection) = &mut self.speech else {
            return self.decode(bytes, received);
        };
        let (taken, sight) = detection.look(bytes, &mut received.clean);
        match sight {
            Sight::Nothing => {}
            Sight::Plain => self.speech = Speech::Plain,
            Sight::Telnet { side, on, option } => {
                self.speech = Speech::Telnet;
                event(Change::Spoken, received);
                self.hear(side, on, option, received);
            }
        }
        self.decode(&bytes[taken..], received);
    }

    /// Whether bytes are held back that may be the beginning of the first negotiation. If that goes on for
    /// [`UNDECIDED`], or the destination ends, they were none: call [`Telnet::release`].
    pub fn is_undecided(&self) -> bool {
        matches!(&self.speech, Speech::Looking(detection) if detection.holds())
    }

    /// Lets the undecided bytes go, as text. Telnet may still be found after them.
    pub fn release(&mut self, received: &mut Received) {
        if let Speech::Looking(detection) = &mut self.speech {
            detection.release(&mut received.clean);
        }
    }

    /// Encodes input of the user; what has to be sent is added to `out`.
    pub fn send(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if !self.is_spoken() {
            return out.extend(bytes);
        }
        let binary = self.is_on(Side::Ours, Known::Binary);
        for byte in bytes.iter().copied() {
            match byte {
                IAC => out.extend([IAC, IAC]),
                // The end of a line is sent at once, whether its LF comes, comes later or does not come.
                CR if !binary => out.extend([CR, LF]),
                LF if self.sent_cr => {}
                _ => out.push(byte),
            }
            self.sent_cr = byte == CR && !binary;
        }
    }

    /// Encodes a command of the user; false when there is no way to say it here.
    pub fn command(&mut self, command: Command, out: &mut Vec<u8>) -> bool {
        let byte = match command {
            Command::Break => BRK,
            Command::Interrupt => IP,
            Command::AreYouThere => AYT,
            Command::Other(_) => return false,
        };
        if self.is_spoken() {
            out.extend([IAC, byte]);
        }
        self.is_spoken()
    }

    /// The user's window has another size. A destination that has not asked for it gets an offer, once.
    pub fn resize(&mut self, columns: u16, rows: u16, out: &mut Vec<u8>) {
        let before = (self.terminal.columns, self.terminal.rows);
        (self.terminal.columns, self.terminal.rows) = (columns, rows);
        if self.is_on(Side::Ours, Known::WindowSize) {
            if before != (columns, rows) {
                self.tell_size(out);
            }
        } else if self.is_spoken() && !self.offered {
            self.offered = true;
            let outcome = self.negotiation.wants(Side::Ours, Known::WindowSize, true);
            say(Side::Ours, Known::WindowSize.number(), outcome.say, out);
        }
    }

    /// Asks for an option to be on or off. Nothing is asked for that we would not agree to, or where telnet is not
    /// spoken.
    pub fn request(&mut self, side: Side, known: Known, on: bool, received: &mut Received) {
        if self.is_spoken() && known.agreed(side) {
            let outcome = self.negotiation.wants(side, known, on);
            self.follow(side, known, outcome, received);
        }
    }

    fn tell_size(&self, out: &mut Vec<u8>) {
        let Terminal { columns, rows, .. } = self.terminal;
        sub(Known::WindowSize, columns.to_be_bytes().into_iter().chain(rows.to_be_bytes()), out);
    }
}
