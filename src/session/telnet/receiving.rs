//! What a destination sends, byte by byte: text, commands, negotiation and sub-negotiation. Pure.

use super::negotiation::Outcome;
use super::option::{Known, Side};
use super::words::{
    CR, DO, DONT, EOR, FIRST_COMMAND, IAC, IS, NUL, REQUEST, SB, SE, SEND, WILL, WONT, charset, heard, say, sub,
};
use super::{Change, Event, LONGEST_SUB_NEGOTIATION, Place, Received, Speech, Telnet};

impl Telnet {
    pub(super) fn decode(&mut self, mut bytes: &[u8], received: &mut Received) {
        if matches!(self.speech, Speech::Plain) {
            return received.clean.extend(bytes);
        }
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match self.place {
                Place::Text => &bytes[self.text(bytes, received)..],
                Place::Command => {
                    self.command_byte(*byte, received);
                    rest
                }
                Place::Option { side, on } => {
                    self.place = Place::Text;
                    self.hear(side, on, *byte, received);
                    rest
                }
                Place::Sub if *byte == IAC => {
                    self.place = Place::SubCommand;
                    rest
                }
                Place::Sub => {
                    self.collect(*byte);
                    rest
                }
                Place::SubCommand => {
                    self.sub_command(*byte, received);
                    rest
                }
            };
        }
    }

    /// Takes text up to the next byte that means something; says how many bytes it has taken, which is never none.
    fn text(&mut self, bytes: &[u8], received: &mut Received) -> usize {
        if self.received_cr && bytes[0] == NUL {
            self.received_cr = false;
            return 1;
        }
        let binary = self.is_on(Side::Theirs, Known::Binary);
        let means = |byte: &u8| *byte == IAC || (*byte == CR && !binary);
        let end = bytes.iter().position(means).unwrap_or(bytes.len());
        received.clean.extend(&bytes[..end]);
        // A command between a CR and its NUL does not part them.
        self.received_cr &= end == 0;
        match bytes.get(end) {
            None => end,
            Some(&IAC) => {
                self.place = Place::Command;
                end + 1
            }
            Some(_) => {
                received.clean.push(CR);
                self.received_cr = true;
                end + 1
            }
        }
    }

    fn command_byte(&mut self, byte: u8, received: &mut Received) {
        self.place = Place::Text;
        match byte {
            IAC => {
                self.received_cr = false;
                received.clean.push(IAC);
            }
            SB => self.place = Place::Sub,
            WILL | WONT | DO | DONT => {
                if let Some((side, on)) = heard(byte) {
                    self.place = Place::Option { side, on };
                }
            }
            EOR if self.is_on(Side::Theirs, Known::EndOfRecord) => event(Change::EndOfRecord, received),
            // No operation, go ahead, other marks, and what only a user says.
            FIRST_COMMAND.. => {}
            // There is no such command: the sender does not double what it should, and this was text.
            _ => {
                self.received_cr = byte == CR && !self.is_on(Side::Theirs, Known::Binary);
                received.clean.extend([IAC, byte]);
            }
        }
    }

    /// The destination says on or off to an option.
    pub(super) fn hear(&mut self, side: Side, on: bool, option: u8, received: &mut Received) {
        let Some(known) = Known::of(option) else {
            // An option that we do not know is off and stays so; only who wants it on gets an answer, every time.
            return say(side, option, on.then_some(false), &mut received.answers);
        };
        let outcome = self.negotiation.hears(side, known, on);
        self.follow(side, known, outcome, received);
    }

    pub(super) fn follow(&mut self, side: Side, known: Known, outcome: Outcome, received: &mut Received) {
        say(side, known.number(), outcome.say, &mut received.answers);
        if let Some(on) = outcome.became {
            self.changed(side, known, on, received);
        }
    }

    fn changed(&mut self, side: Side, known: Known, on: bool, received: &mut Received) {
        event(Change::Option { side, known, on }, received);
        match (side, known) {
            (Side::Theirs, Known::Binary) => self.received_cr = false,
            (Side::Ours, Known::WindowSize) if on => self.tell_size(&mut received.answers),
            _ => {}
        }
    }

    fn collect(&mut self, byte: u8) {
        if self.sub.len() < LONGEST_SUB_NEGOTIATION {
            self.place = Place::Sub;
            self.sub.push(byte);
        } else {
            // It may have no end; what comes now is shown rather than lost.
            self.place = Place::Text;
            self.sub = Vec::new();
        }
    }

    fn sub_command(&mut self, byte: u8, received: &mut Received) {
        match byte {
            IAC => self.collect(IAC),
            SE => {
                self.place = Place::Text;
                let sub = std::mem::take(&mut self.sub);
                self.sub_negotiation(&sub, received);
            }
            // Its end is missing. It has no effect, but the command has.
            _ => {
                self.sub = Vec::new();
                self.command_byte(byte, received);
            }
        }
    }

    fn sub_negotiation(&self, bytes: &[u8], received: &mut Received) {
        let Some((option, rest)) = bytes.split_first() else {
            return;
        };
        let on = |known| self.is_on(Side::Ours, known) || self.is_on(Side::Theirs, known);
        match (Known::of(*option).filter(|known| on(*known)), rest) {
            (Some(Known::TerminalType), [SEND]) => {
                let name = self.terminal.name.bytes();
                sub(Known::TerminalType, [IS].into_iter().chain(name), &mut received.answers);
            }
            (Some(Known::Charset), [REQUEST, offer @ ..]) if charset(offer, &mut received.answers) => {
                event(Change::Utf8, received);
            }
            _ => {}
        }
    }
}

/// Notes a change. Of several that are about the same between the same two bytes only the last is worth telling, so
/// that a storm of them takes no room.
pub(super) fn event(change: Change, received: &mut Received) {
    let at = received.clean.len();
    let same = |old: Change| match (old, change) {
        (Change::Option { side, known, .. }, Change::Option { side: other, known: same, .. }) => {
            (side, known) == (other, same)
        }
        _ => old == change,
    };
    let here = received.events.iter().rposition(|event| event.at != at).map_or(0, |last| last + 1);
    let same = received.events[here..].iter().position(|event| same(event.change));
    if let Some(same) = same {
        received.events.remove(here + same);
    }
    received.events.push(Event { at, change });
}
