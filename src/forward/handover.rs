//! What an old process tells its successor when it hands everything over, and the lines that the two exchange.
//!
//! 1. Old: the plan as it is. New: *ready*, when it could serve that.
//! 2. Old: the plan as it has become, and every descriptor. New: *registered*.
//! 3. Old: *commit*. New: *serving*, when it does.
//!
//! Until *serving* the old process keeps everything, so that it can go on when the new one fails.

use super::store::SavedOptions;
use crate::net::relay::{Carried, CarriedState};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use socket_protector_client::handoff::{self, Descriptor, key_value};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long each step may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest line.
const LONGEST_LINE: usize = 16 * 1024 * 1024;
/// The most bytes of one message: what was received of a connection and not yet sent goes with it.
const LONGEST_MESSAGE: usize = 8 * 1024 * 1024;

/// What there is, but for the descriptors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this form.
    pub schema: u32,
    /// What holds for all rules.
    pub options: SavedOptions,
    /// The rules.
    pub rules: Vec<PlannedRule>,
    /// How many descriptors follow.
    pub descriptors: usize,
}

/// A rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlannedRule {
    /// Its number in descriptors.
    pub listener: u32,
    /// Where it listens, as `ls` shows it.
    pub source: String,
    /// The port was left open.
    pub chosen: bool,
    /// Its clients wait.
    pub paused: bool,
    /// The active destination, by its place in the list.
    pub active: usize,
    /// A share: the destination, and how many percent.
    pub share: Option<(usize, u8)>,
    /// All that are not gone.
    pub destinations: Vec<PlannedDestination>,
}

/// A destination.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in the list of destinations")]
pub struct PlannedDestination {
    pub number: u64,
    pub endpoint: String,
    pub age_ms: u64,
    pub total: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub failures: u64,
}

/// What is said besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The successor could serve the plan.
    Ready,
    /// It has every descriptor.
    Registered,
    /// It may begin.
    Commit,
    /// It has begun.
    Serving,
    /// It cannot.
    Failed(String),
}

/// A descriptor and what it is.
#[derive(Debug)]
pub enum Handed {
    /// The listening socket of a rule.
    Listener(u32, OwnedFd),
    /// A client of a paused rule.
    Parked(u32, OwnedFd),
    /// A connection.
    Pair(Box<Carried>),
    /// The control socket.
    Control(OwnedFd),
    /// Somebody who waits, for this rule or for all.
    Waiter(Option<String>, OwnedFd),
    /// The locked pid file.
    PidFile(OwnedFd),
    /// The stream to a process before the old one, which stays for what could not be handed over; its end would end that.
    Predecessor(OwnedFd),
}

/// Why a handover came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The stream between the two.
    #[error("lost the other process")]
    Stream(#[from] io::Error),
    /// Descriptors on it.
    #[error("cannot hand over descriptors")]
    Handoff(#[from] handoff::Error),
    /// A line that says something else.
    #[error("the other process is not understood")]
    Line(#[from] serde_json::Error),
    /// It says so.
    #[error("the new process cannot take over: {0}")]
    Failed(String),
    /// It says something out of turn.
    #[error("the other process said {0:?} out of turn")]
    OutOfTurn(Word),
}

/// Says something.
pub fn say(mut stream: &UnixStream, what: &impl Serialize) -> Result<(), HandoverError> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream.write_all(&line)?)
}

/// Hears something. No byte behind the line is read: descriptors may follow.
pub fn hear<T: DeserializeOwned>(mut stream: &UnixStream) -> Result<T, HandoverError> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() > LONGEST_LINE {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
    }
    Ok(serde_json::from_slice(&line)?)
}

/// Hears this word.
pub fn expect(stream: &UnixStream, wanted: &Word) -> Result<(), HandoverError> {
    match hear::<Word>(stream)? {
        word if word == *wanted => Ok(()),
        Word::Failed(why) => Err(HandoverError::Failed(why)),
        word => Err(HandoverError::OutOfTurn(word)),
    }
}

impl Handed {
    /// How many descriptors it is.
    pub fn count(&self) -> usize {
        match self {
            Handed::Pair(_) => 2,
            _ => 1,
        }
    }

    /// Its descriptors with what is said of them.
    fn entries(&self) -> Result<Vec<(BorrowedFd<'_>, Vec<u8>)>, HandoverError> {
        Ok(match self {
            Handed::Listener(number, socket) => vec![(socket.as_fd(), labelled("listener", &number.to_string()))],
            Handed::Parked(number, socket) => vec![(socket.as_fd(), labelled("parked", &number.to_string()))],
            Handed::Control(socket) => vec![(socket.as_fd(), labelled("control", ""))],
            Handed::PidFile(file) => vec![(file.as_fd(), labelled("pid-file", ""))],
            Handed::Predecessor(stream) => vec![(stream.as_fd(), labelled("predecessor", ""))],
            Handed::Waiter(source, socket) => {
                vec![(socket.as_fd(), labelled("waiter", source.as_deref().unwrap_or_default()))]
            }
            Handed::Pair(pair) => {
                let mut state = pair.state.clone();
                let (up, down) = (std::mem::take(&mut state.up.unsent), std::mem::take(&mut state.down.unsent));
                let state = serde_json::to_vec(&state)?;
                let pairs = [("kind", b"client".to_vec()), ("state", state), ("up", up), ("down", down)];
                vec![(pair.client.as_fd(), map(&pairs)), (pair.peer.as_fd(), labelled("peer", ""))]
            }
        })
    }
}

fn labelled(kind: &str, of: &str) -> Vec<u8> {
    map(&[("kind", kind.as_bytes().to_vec()), ("of", of.as_bytes().to_vec())])
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Keys are ours, and no value has 4 GiB.
    let _ = key_value::encode(pairs, &mut bytes);
    bytes
}

/// Sends all descriptors.
pub fn send(stream: &UnixStream, all: &[Handed]) -> Result<(), HandoverError> {
    let mut entries = Vec::new();
    for handed in all {
        entries.extend(handed.entries()?);
    }
    Ok(handoff::Sender::new().time_limit(Some(PATIENCE)).most_bytes(LONGEST_MESSAGE).send_to(stream, &entries)?)
}

/// Receives so many descriptors.
pub fn receive(stream: &UnixStream, count: usize) -> Result<Vec<Handed>, HandoverError> {
    let mut received = VecDeque::with_capacity(count);
    let mut receiver = handoff::Receiver::new().time_limit(Some(PATIENCE)).most_bytes(LONGEST_MESSAGE);
    while received.len() < count {
        let taken = receiver.receive_from(stream, |descriptor: Descriptor, metadata: &[u8]| {
            received.push_back((OwnedFd::from(descriptor), metadata.to_vec()));
            Ok(())
        })?;
        if taken == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    let mut all = Vec::new();
    while let Some((descriptor, metadata)) = received.pop_front() {
        all.push(
            understood(descriptor, &metadata, &mut received)
                .ok_or(io::ErrorKind::InvalidData)
                .map_err(io::Error::from)?,
        );
    }
    Ok(all)
}

/// What a descriptor is, by what is said of it; that of a connection's client is followed by the other one.
fn understood(descriptor: OwnedFd, metadata: &[u8], rest: &mut VecDeque<(OwnedFd, Vec<u8>)>) -> Option<Handed> {
    let map = key_value::KeyValue::decode(metadata).ok()?;
    let text = |key| std::str::from_utf8(map.get(key).unwrap_or_default()).ok();
    let number = || text("of")?.parse().ok();
    Some(match text("kind")? {
        "listener" => Handed::Listener(number()?, descriptor),
        "parked" => Handed::Parked(number()?, descriptor),
        "control" => Handed::Control(descriptor),
        "pid-file" => Handed::PidFile(descriptor),
        "predecessor" => Handed::Predecessor(descriptor),
        "waiter" => Handed::Waiter(Some(text("of")?.to_owned()).filter(|source| !source.is_empty()), descriptor),
        "client" => {
            let mut state = serde_json::from_slice::<CarriedState>(map.get("state")?).ok()?;
            state.up.unsent = map.get("up")?.to_vec();
            state.down.unsent = map.get("down")?.to_vec();
            let (peer, label) = rest.pop_front()?;
            let label = key_value::KeyValue::decode(&label).ok()?;
            if label.get("kind")? != b"peer" {
                return None;
            }
            Handed::Pair(Box::new(Carried { client: descriptor, peer, state }))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Handed, HandoverError, Word, expect, hear, receive, say, send};
    use crate::net::relay::{Carried, CarriedState, Direction, Ending};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn socket() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    #[test]
    fn everything_arrives_as_it_was_sent() {
        let (old, new) = UnixStream::pair().unwrap();
        let direction = |unsent: &[u8], end| Direction { unsent: unsent.to_vec(), end };
        let state = CarriedState {
            listener: 3,
            destination: 9,
            age: Duration::from_secs(7),
            idle: Duration::from_millis(1),
            bytes_in: 5,
            bytes_out: 6,
            up: direction(&[0, 255, b'\n'], Ending::Seen),
            down: direction(&vec![b'x'; 300_000], Ending::Open),
        };
        let pair = Carried { client: socket(), peer: socket(), state: state.clone() };
        let all = vec![
            Handed::Control(socket()),
            Handed::Listener(3, socket()),
            Handed::Pair(Box::new(pair)),
            Handed::Parked(3, socket()),
            Handed::Waiter(Some("tcp:1".into()), socket()),
            Handed::Waiter(None, socket()),
            Handed::PidFile(socket()),
            Handed::Predecessor(socket()),
        ];
        let count = all.iter().map(Handed::count).sum::<usize>();
        assert_eq!(count, 9);
        let sends = std::thread::spawn(move || {
            say(&old, &Word::Ready).unwrap();
            send(&old, &all).unwrap();
            say(&old, &Word::Commit).unwrap();
            old
        });
        expect(&new, &Word::Ready).unwrap();
        let received = receive(&new, count).unwrap();
        expect(&new, &Word::Commit).unwrap();
        drop(sends.join().unwrap());
        assert_eq!(received.len(), 8);
        let Handed::Pair(carried) = &received[2] else { panic!("{received:?}") };
        assert_eq!(carried.state, state);
        assert!(matches!(&received[4], Handed::Waiter(Some(source), _) if source == "tcp:1"), "{received:?}");
        assert!(matches!(received[5], Handed::Waiter(None, _)), "{received:?}");
        assert!(matches!(hear::<Word>(&new), Err(HandoverError::Stream(_))), "it is gone");
    }

    #[test]
    fn what_is_out_of_turn_or_failed_is_told() {
        let (old, new) = UnixStream::pair().unwrap();
        say(&new, &Word::Failed("no".into())).unwrap();
        assert!(expect(&old, &Word::Ready).unwrap_err().to_string().ends_with("cannot take over: no"));
        say(&new, &Word::Serving).unwrap();
        assert!(matches!(expect(&old, &Word::Ready), Err(HandoverError::OutOfTurn(Word::Serving))));
        say(&new, &"garbage").unwrap();
        assert!(matches!(expect(&old, &Word::Ready), Err(HandoverError::Line(_))));
    }
}
