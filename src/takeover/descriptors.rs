//! Descriptors that go from the old process to the new one, each with a map of keys and values that says what it is.

use super::ExchangeError;
use crate::control::server::Share;
use crate::logging::StandardError;
use crate::process::spawn::null_device;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use socket_protector_client::handoff::{self, Descriptor, key_value};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The most bytes of one message: what was received of a connection and not yet sent goes with it.
const LONGEST_MESSAGE: usize = 8 * 1024 * 1024;

/// A client of the control socket on its way.
#[derive(Debug)]
pub struct SharedClient<S = OwnedFd> {
    /// The number by which requests know it.
    pub number: u64,
    /// What the control socket knows of it.
    pub share: Share<S>,
}

impl<S: AsFd> SharedClient<S> {
    /// What is said of it.
    pub fn label(&self) -> Vec<u8> {
        let kind = if self.share.asked { "waits" } else { "asks" };
        let number = self.number.to_string();
        map(&[("kind", kind.as_bytes()), ("of", number.as_bytes()), ("heard", &self.share.heard)])
    }
}

impl SharedClient {
    /// What a descriptor of the kind *waits* or *asks* is.
    pub fn understood(descriptor: OwnedFd, label: &Label<'_>) -> Option<Self> {
        let asked = label.text("kind")? == "waits";
        let share = Share { socket: descriptor, asked, heard: label.bytes("heard").to_vec() };
        Some(SharedClient { number: label.number()?, share })
    }
}

/// What is said of a descriptor.
#[derive(Debug)]
pub struct Label<'a>(key_value::KeyValue<'a>);

impl<'a> Label<'a> {
    /// From the bytes that came with it; `None` if they are none.
    pub fn of(metadata: &'a [u8]) -> Option<Self> {
        key_value::KeyValue::decode(metadata).ok().map(Label)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key)
    }

    /// The same; nothing if there is no such key.
    pub fn bytes(&self, key: &str) -> &[u8] {
        self.get(key).unwrap_or_default()
    }

    /// The same as text.
    pub fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.bytes(key)).ok()
    }

    /// The number of what it belongs to.
    pub fn number(&self) -> Option<u64> {
        self.text("of")?.parse().ok()
    }
}

/// Says what a descriptor is, and to what it belongs.
pub fn label(kind: &str, of: impl ToString) -> Vec<u8> {
    map(&[("kind", kind.as_bytes()), ("of", of.to_string().as_bytes())])
}

/// Says more of it.
pub fn map(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Keys are ours, and no value has 4 GiB.
    let _ = key_value::encode(pairs, &mut bytes);
    bytes
}

/// Sends all, within this time.
///
/// # Errors
/// The other process has gone or does not read.
pub fn send(stream: &UnixStream, entries: &[(BorrowedFd<'_>, Vec<u8>)], within: Duration) -> Result<(), ExchangeError> {
    let mut sender = handoff::Sender::new().time_limit(Some(within)).most_bytes(LONGEST_MESSAGE);
    sender.send_to(stream, entries).map_err(|error| if has_gone(&error) { lost() } else { error.into() })
}

fn lost() -> ExchangeError {
    ExchangeError::Lost(io::ErrorKind::BrokenPipe.into())
}

/// Whether it could not be sent because nobody is there any more.
fn has_gone(error: &handoff::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) = kind {
            return true;
        }
        next = error.source();
    }
    false
}

/// Receives so many descriptors with what is said of them, each message within this time.
///
/// # Errors
/// The other process has gone or says something else; what has come is closed.
pub fn receive(
    stream: &UnixStream,
    count: usize,
    within: Duration,
) -> Result<VecDeque<(OwnedFd, Vec<u8>)>, ExchangeError> {
    let mut received = VecDeque::new();
    let mut receiver = handoff::Receiver::new().time_limit(Some(within)).most_bytes(LONGEST_MESSAGE);
    while received.len() < count {
        let taken = receiver.receive_from(stream, |descriptor: Descriptor, metadata: &[u8]| {
            received.push_back((OwnedFd::from(descriptor), metadata.to_vec()));
            Ok(())
        })?;
        if taken == 0 {
            return Err(ExchangeError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(received)
}

/// From now on our output goes where that of the old process went, instead of to what it has given us for the time of
/// getting ready.
///
/// # Errors
/// Those of dup2(2), and of opening the null device.
pub fn own_output(output: Option<OwnedFd>) -> io::Result<()> {
    let null = null_device()?;
    dup2_stdin(&null)?;
    let output = output.unwrap_or(null);
    dup2_stdout(&output)?;
    dup2_stderr(&output)?;
    StandardError::look_again();
    Ok(())
}
