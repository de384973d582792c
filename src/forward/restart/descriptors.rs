//! The descriptors that go from the old process to the new one, and what is said of each.

use crate::net::relay::{Carried, CarriedState};
use crate::takeover::ExchangeError;
use crate::takeover::descriptors::{self, Label, SharedClient, label, map};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A descriptor, or two of a connection, and what it is. What both processes have for a while, `S`, the old one lends: it
/// may have no descriptor to spare for another copy.
#[derive(Debug)]
pub enum Handed<S = OwnedFd> {
    /// The listening socket of a rule, by the number that connections know it by.
    Listener(u32, S),
    /// A client of a paused rule, by that number.
    Parked(u32, OwnedFd),
    /// An established connection.
    Pair(Box<Carried>),
    /// The control socket.
    Control(S),
    /// A client of the control socket.
    Client(SharedClient<S>),
    /// The locked pid file.
    PidFile(S),
    /// Standard output and standard error, the same for both.
    Output(S),
    /// The stream to a process before the old one, by its place in the plan, and the beginning of a line that it has said.
    Older(usize, Vec<u8>, S),
}

impl<S: AsFd> Handed<S> {
    /// How many descriptors it is.
    pub fn count(&self) -> usize {
        match self {
            Handed::Pair(_) => 2,
            Handed::Listener(..) | Handed::Parked(..) | Handed::Control(_) | Handed::Client(_) => 1,
            Handed::PidFile(_) | Handed::Output(_) | Handed::Older(..) => 1,
        }
    }

    fn entries(&self) -> Result<Vec<(BorrowedFd<'_>, Vec<u8>)>, ExchangeError> {
        Ok(match self {
            Handed::Listener(number, socket) => vec![(socket.as_fd(), label("listener", *number))],
            Handed::Parked(number, socket) => vec![(socket.as_fd(), label("parked", *number))],
            Handed::Control(socket) => vec![(socket.as_fd(), label("control", ""))],
            Handed::PidFile(file) => vec![(file.as_fd(), label("pid-file", ""))],
            Handed::Output(file) => vec![(file.as_fd(), label("output", ""))],
            Handed::Client(client) => vec![(client.share.socket.as_fd(), client.label())],
            Handed::Older(index, heard, stream) => {
                vec![(stream.as_fd(), map(&[("kind", b"older"), of(&index.to_string()), ("heard", heard)]))]
            }
            Handed::Pair(pair) => {
                let mut state = pair.state.clone();
                let (up, down) = (std::mem::take(&mut state.up.unsent), std::mem::take(&mut state.down.unsent));
                let state = serde_json::to_vec(&state)?;
                let client = map(&[("kind", b"client"), ("state", &state), ("up", &up), ("down", &down)]);
                vec![(pair.client.as_fd(), client), (pair.peer.as_fd(), label("peer", ""))]
            }
        })
    }
}

fn of(text: &str) -> (&str, &[u8]) {
    ("of", text.as_bytes())
}

/// Sends what both have for a while, and then what is taken out of here, within this time.
///
/// # Errors
/// The other process has gone or does not read.
pub fn send(
    stream: &UnixStream,
    shared: &[Handed<impl AsFd>],
    taken: &[Handed],
    within: Duration,
) -> Result<(), ExchangeError> {
    let mut entries = Vec::new();
    for handed in shared {
        entries.extend(handed.entries()?);
    }
    for handed in taken {
        entries.extend(handed.entries()?);
    }
    descriptors::send(stream, &entries, within)
}

/// Receives so many descriptors, each message within this time.
///
/// # Errors
/// The other process has gone or says something else; what has come is closed.
pub fn receive(stream: &UnixStream, count: usize, within: Duration) -> Result<Vec<Handed>, ExchangeError> {
    let mut received = descriptors::receive(stream, count, within)?;
    let mut all = Vec::new();
    while let Some((descriptor, metadata)) = received.pop_front() {
        all.push(
            understood(descriptor, &metadata, &mut received).ok_or(ExchangeError::Missing("a descriptor's label"))?,
        );
    }
    Ok(all)
}

/// What a descriptor is, by what is said of it; that of a connection's client is followed by the other one.
fn understood(descriptor: OwnedFd, metadata: &[u8], rest: &mut VecDeque<(OwnedFd, Vec<u8>)>) -> Option<Handed> {
    let said = Label::of(metadata)?;
    let number = || said.number();
    let heard = || said.bytes("heard").to_vec();
    Some(match said.text("kind")? {
        "listener" => Handed::Listener(number()?.try_into().ok()?, descriptor),
        "parked" => Handed::Parked(number()?.try_into().ok()?, descriptor),
        "control" => Handed::Control(descriptor),
        "pid-file" => Handed::PidFile(descriptor),
        "output" => Handed::Output(descriptor),
        "waits" | "asks" => Handed::Client(SharedClient::understood(descriptor, &said)?),
        "older" => Handed::Older(number()?.try_into().ok()?, heard(), descriptor),
        "client" => {
            let mut state = serde_json::from_slice::<CarriedState>(said.get("state")?).ok()?;
            state.up.unsent = said.get("up")?.to_vec();
            state.down.unsent = said.get("down")?.to_vec();
            let (peer, label) = rest.pop_front()?;
            if Label::of(&label)?.get("kind")? != b"peer" {
                return None;
            }
            Handed::Pair(Box::new(Carried { client: descriptor, peer, state }))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{Handed, SharedClient, receive, send};
    use crate::control::server::Share;
    use crate::net::relay::{Carried, CarriedState, Direction, Ending};
    use crate::takeover::{Exchange, LIMIT, Word};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn socket() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    fn state() -> CarriedState {
        let direction = |unsent: &[u8], end| Direction { unsent: unsent.to_vec(), end };
        CarriedState {
            listener: 3,
            destination: 9,
            age: Duration::from_secs(7),
            idle: Duration::from_millis(1),
            bytes_in: 5,
            bytes_out: 6,
            header: Some(vec![0, 255]),
            up: direction(&[0, 255, b'\n'], Ending::Seen),
            down: direction(&vec![b'x'; 300_000], Ending::Open),
        }
    }

    #[test]
    fn everything_arrives_as_it_was_sent() {
        let (old, new) = UnixStream::pair().unwrap();
        let pair = Carried { client: socket(), peer: socket(), state: state() };
        let client =
            |asked| SharedClient { number: 4, share: Share { asked, heard: b"{\"".to_vec(), socket: socket() } };
        let all = vec![
            Handed::Control(socket()),
            Handed::Listener(3, socket()),
            Handed::Pair(Box::new(pair)),
            Handed::Parked(3, socket()),
            Handed::Client(client(true)),
            Handed::Client(client(false)),
            Handed::Older(1, b"{".to_vec(), socket()),
            Handed::Output(socket()),
            Handed::PidFile(socket()),
        ];
        let count = all.iter().map(Handed::count).sum::<usize>();
        assert_eq!(count, 10);
        let sends = std::thread::spawn(move || {
            let old = Exchange::new(old, LIMIT);
            old.say(&Word::Registered).unwrap();
            let (shared, taken) = all.split_at(2);
            send(old.stream(), shared, taken, LIMIT).unwrap();
            old.say(&Word::Commit).unwrap();
            old
        });
        let new = Exchange::new(new, LIMIT);
        assert_eq!(new.hear::<Word>().unwrap(), Word::Registered);
        let received = receive(new.stream(), count, LIMIT).unwrap();
        assert_eq!(new.hear::<Word>().unwrap(), Word::Commit);
        drop(sends.join().unwrap());
        assert_eq!(received.len(), 9);
        let Handed::Pair(carried) = &received[2] else { panic!("{received:?}") };
        assert_eq!(carried.state, state());
        let client = |handed: &Handed| match handed {
            Handed::Client(client) => Some((client.number, client.share.asked, client.share.heard.clone())),
            _ => None,
        };
        assert_eq!(client(&received[4]), Some((4, true, b"{\"".to_vec())));
        assert_eq!(client(&received[5]), Some((4, false, b"{\"".to_vec())));
        assert!(matches!(&received[6], Handed::Older(1, heard, _) if heard == b"{"), "{received:?}");
    }

    #[test]
    fn one_that_goes_half_way_is_an_error() {
        let (old, new) = UnixStream::pair().unwrap();
        send(&old, &[Handed::Control(socket().as_fd())], &[], LIMIT).unwrap();
        drop(old);
        assert!(receive(&new, 2, LIMIT).is_err());
    }
}
