//! What somebody types at a client that stays attached: keys become input, marks on the screen and words to the client.
//! Pure.
//!
//! If the destination echoes, or hides what is typed, each key goes to it as it is. If it does not, a line is shown and
//! edited here, and goes when it is complete. In both, a `~` at the beginning of a line is the first of two keys that are
//! for the client.

use crate::session::frame::Command;

#[cfg(test)]
mod tests;

/// Most bytes of a line that is edited here.
const LONGEST: usize = 4096;
/// What rings.
const BELL: u8 = 7;
const BACKSPACE: [u8; 2] = [8, 127];
const END: u8 = 4;
const KILL_LINE: u8 = 21;
const SUSPEND: u8 = 26;
/// Removes the last letter from the screen.
const RUB_OUT: &[u8] = b"\x08 \x08";

/// What follows of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Input for the session.
    Input(Vec<u8>),
    /// To be shown to whoever types.
    Show(Vec<u8>),
    /// Leave; the session goes on.
    Leave,
    /// Stop for now, as a shell's jobs do.
    Suspend,
    /// Say which keys there are.
    Explain,
    /// Tell the destination something that is no input.
    Command(Command),
    /// The end of the input was typed.
    End,
}

/// What was typed so far.
#[derive(Debug)]
pub(super) struct Keys {
    /// The destination shows what is typed, or hides it.
    remote_echo: bool,
    at_start: bool,
    /// A `~` waits for the second key.
    tilde: bool,
    line: Vec<u8>,
}

impl Keys {
    /// At the beginning of a line; nobody else echoes.
    pub(super) fn new() -> Keys {
        Keys { remote_echo: false, at_start: true, tilde: false, line: Vec::new() }
    }

    /// Who shows what is typed from now on. A line that was begun here goes on there.
    pub(super) fn remote_echo(&mut self, remote: bool, typed: &mut Vec<Typed>) {
        self.remote_echo = remote;
        if remote && !self.line.is_empty() {
            typed.push(Typed::Input(std::mem::take(&mut self.line)));
        }
    }

    /// Whether the destination shows, or hides, what is typed.
    pub(super) fn is_echoed_remotely(&self) -> bool {
        self.remote_echo
    }

    /// Takes in keys; what is left of them after [`Typed::Leave`] is nobody's.
    pub(super) fn typed(&mut self, keys: &[u8], typed: &mut Vec<Typed>) {
        for &key in keys {
            if std::mem::take(&mut self.tilde) {
                self.second(key, typed);
            } else if key == b'~' && self.at_start {
                self.tilde = true;
            } else {
                self.key(key, typed);
            }
        }
    }

    fn second(&mut self, key: u8, typed: &mut Vec<Typed>) {
        let word = match key {
            b'.' => Typed::Leave,
            b'?' => Typed::Explain,
            SUSPEND => Typed::Suspend,
            b'A' => Typed::Command(Command::AreYouThere),
            b'B' => Typed::Command(Command::Break),
            b'I' => Typed::Command(Command::Interrupt),
            b'~' => return self.key(b'~', typed),
            other => {
                self.key(b'~', typed);
                return self.key(other, typed);
            }
        };
        typed.push(word);
    }

    fn key(&mut self, key: u8, typed: &mut Vec<Typed>) {
        if self.remote_echo {
            self.at_start = matches!(key, b'\r' | b'\n');
            push(typed, Typed::Input(vec![key]));
        } else {
            self.edit(key, typed);
            self.at_start = self.line.is_empty();
        }
    }

    fn edit(&mut self, key: u8, typed: &mut Vec<Typed>) {
        match key {
            b'\r' | b'\n' => {
                push(typed, Typed::Show(b"\n".to_vec()));
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(b"\r\n");
                push(typed, Typed::Input(line));
            }
            END if self.line.is_empty() => typed.push(Typed::End),
            END => push(typed, Typed::Input(std::mem::take(&mut self.line))),
            key if BACKSPACE.contains(&key) => self.rub_out(typed),
            KILL_LINE => {
                while !self.line.is_empty() {
                    self.rub_out(typed);
                }
            }
            _ if self.line.len() >= LONGEST => push(typed, Typed::Show(vec![BELL])),
            key => {
                self.line.push(key);
                push(typed, Typed::Show(shown(key)));
            }
        }
    }

    /// Takes the last letter away, which may have several bytes (UTF-8).
    fn rub_out(&mut self, typed: &mut Vec<Typed>) {
        while let Some(byte) = self.line.pop() {
            if byte & 0b1100_0000 != 0b1000_0000 {
                let width = if byte < b' ' && byte != b'\t' { 2 } else { 1 };
                push(typed, Typed::Show(RUB_OUT.repeat(width)));
                return;
            }
        }
    }
}

/// Control characters as a terminal shows them.
fn shown(key: u8) -> Vec<u8> {
    match key {
        b'\t' => vec![b' '],
        0..32 => vec![b'^', key + 64],
        _ => vec![key],
    }
}

/// Joined to what is of the same kind before it.
fn push(typed: &mut Vec<Typed>, new: Typed) {
    match (typed.last_mut(), new) {
        (Some(Typed::Input(before)), Typed::Input(new)) | (Some(Typed::Show(before)), Typed::Show(new)) => {
            before.extend(new);
        }
        (_, new) => typed.push(new),
    }
}
