//! A client of the children in `children/serve.rs`: asks lines, checks answers.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a client waits before it calls a connection dead.
const DEADLINE: Duration = Duration::from_secs(40);

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// What a client may see go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    Refused,
    Reset,
    Unanswered,
    TimedOut,
    Wrong,
    Other,
}

/// What a child answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The child's generation, 0 where it knows none.
    pub(crate) generation: u64,
    pub(crate) pid: i32,
    /// Which connection of the child this is, from 1.
    pub(crate) place: u64,
}

impl Failure {
    fn of(error: &std::io::Error) -> Failure {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only these tell us something")]
        match error.kind() {
            ErrorKind::ConnectionRefused => Failure::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Failure::Reset,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Failure::TimedOut,
            _ => Failure::Other,
        }
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Client, Failure> {
        Client::connect_within(address, DEADLINE)
    }

    pub(crate) fn connect_within(address: SocketAddr, patience: Duration) -> Result<Client, Failure> {
        let stream = TcpStream::connect_timeout(&address, patience).map_err(|error| Failure::of(&error))?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Sends a request that is answered after `hold`.
    pub(crate) fn send(&mut self, hold: Duration, word: &str) -> Result<(), Failure> {
        let request = format!("{} {word}\n", hold.as_millis());
        self.stream.get_mut().write_all(request.as_bytes()).map_err(|error| Failure::of(&error))
    }

    /// Reads the answer to `word`.
    pub(crate) fn receive(&mut self, word: &str) -> Result<Answer, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Err(Failure::Unanswered),
            Ok(_) => {}
            Err(error) => return Err(Failure::of(&error)),
        }
        let Some(line) = line.strip_suffix('\n') else {
            return Err(Failure::Unanswered);
        };
        let words: Vec<_> = line.split(' ').collect();
        let [generation, pid, place, echoed] = words[..] else {
            return Err(Failure::Wrong);
        };
        match (generation.parse(), pid.parse(), place.parse()) {
            (Ok(generation), Ok(pid), Ok(place)) if echoed == word => Ok(Answer { generation, pid, place }),
            _ => Err(Failure::Wrong),
        }
    }

    pub(crate) fn ask(&mut self, hold: Duration, word: &str) -> Result<Answer, Failure> {
        self.send(hold, word)?;
        self.receive(word)
    }

    /// Closes so that the other side sees a reset.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(self.stream.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// One connection, one request, one answer.
#[track_caller]
pub(crate) fn ask(address: SocketAddr) -> Answer {
    Client::connect(address)
        .and_then(|mut client| client.ask(Duration::ZERO, "hello"))
        .unwrap_or_else(|failure| panic!("no answer from {address}: {failure:?}"))
}
