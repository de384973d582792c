//! The text of a state file: a line for each thing, in a fixed order, and a last line that says that it is whole. Pure.
//! What has held a secret is wiped.

use super::Kept;
use crate::session::client_state::{Progress, Ticket};
use crate::session::credential::{BootId, Secret, SessionId};

const HEAD: &str = "socket-protector session 1";
const TAIL: &str = "end";
/// More than all lines but the input's have together, without the server.
const LINES: usize = 1024;

/// What is wrong with a text. It does not repeat it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// No text, or another one.
    #[error("it does not begin with '{HEAD}'")]
    Head,
    /// Far too long.
    #[error("it is too long")]
    Length,
    /// A line is not there, or is something else.
    #[error("line {number} is not of the form '{name} …'")]
    Line {
        /// Which line, from 1.
        number: usize,
        /// What it should begin with.
        name: &'static str,
    },
    /// The last line is not there.
    #[error("its end is missing")]
    Tail,
}

/// The text.
pub(super) fn write(kept: &Kept) -> zeroize::Zeroizing<Vec<u8>> {
    let Kept { server, ticket, progress, remote_echo } = kept;
    let secret = ticket.secret.to_text();
    let queued = hex(&progress.queued);
    // Room for all of it, so that no copy of a secret stays behind.
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(LINES + server.len() + queued.len()));
    let mut line = |words: &[&str]| {
        text.extend_from_slice(words.join(" ").as_bytes());
        text.push(b'\n');
    };
    let word = |yes: bool| if yes { "yes" } else { "no" };
    line(&[HEAD]);
    line(&["server", server]);
    line(&["id", &ticket.id.to_string()]);
    line(&["boot", &SessionId(ticket.boot.0).to_string()]);
    line(&["epoch", &progress.epoch.to_string()]);
    line(&["output", &progress.output.to_string()]);
    line(&["input", &progress.input.to_string()]);
    line(&["ended", word(progress.ended)]);
    line(&["fresh", word(progress.fresh)]);
    line(&["remote-echo", word(*remote_echo)]);
    for (name, value) in [("queued ", &queued), ("secret ", &secret)] {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(TAIL.as_bytes());
    text.push(b'\n');
    text
}

/// What a text says.
pub(super) fn read(text: &[u8]) -> Result<Kept, Fault> {
    let mut lines = Lines { rest: std::str::from_utf8(text).map_err(|_| Fault::Head)?, number: 0 };
    if lines.next() != Some(HEAD) {
        return Err(Fault::Head);
    }
    let server = lines.value("server", |text| Some(text.to_owned()))?;
    let id = lines.value("id", |text| text.parse::<SessionId>().ok())?;
    let boot = lines.value("boot", |text| text.parse::<SessionId>().ok().map(|id| BootId(id.0)))?;
    let number = |text: &str| text.parse::<u64>().ok();
    let epoch = lines.value("epoch", number)?;
    let output = lines.value("output", number)?;
    let input = lines.value("input", number)?;
    let ended = lines.value("ended", yes)?;
    let fresh = lines.value("fresh", yes)?;
    let remote_echo = lines.value("remote-echo", yes)?;
    let queued = lines.value("queued", bytes)?;
    let secret = lines.value("secret", |text| Secret::from_text(text).ok())?;
    if lines.next() != Some(TAIL) || !lines.rest.is_empty() {
        return Err(Fault::Tail);
    }
    let progress = Progress { epoch, output, input, queued, ended, fresh };
    Ok(Kept { server, ticket: Ticket { id, secret, boot }, progress, remote_echo })
}

struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        self.number += 1;
        Some(line)
    }

    fn value<T>(&mut self, name: &'static str, read: impl Fn(&'a str) -> Option<T>) -> Result<T, Fault> {
        let line = self.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(read).ok_or(Fault::Line { number: self.number, name })
    }
}

fn yes(text: &str) -> Option<bool> {
    match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What was typed may be a password.
fn hex(bytes: &[u8]) -> zeroize::Zeroizing<String> {
    let mut text = zeroize::Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    text
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}
