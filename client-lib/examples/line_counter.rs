//! `line_counter ADDRESS`: answers each line with the number of lines that its client has sent so far.
//!
//! Clients may stay for ever, and a reload does not wait for them: when it is time to drain, every open connection is
//! given back with its count, this process exits at once, and the next generation goes on counting. Try it:
//!
//! ```text
//! socket-protector -f 4321 -- line_counter 127.0.0.1:4321
//! ```
//!
//! One thread and poll(2), so that no thread has to be stopped in the middle of a read.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket_protector_client::{Connection, Protector};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

/// One client, and all that the next generation has to know of it.
struct Client {
    stream: TcpStream,
    listener: usize,
    lines: u64,
    /// Answers that the client has not taken yet.
    unsent: Vec<u8>,
}

/// Public because the suite of socket-protector runs it as one of its children.
pub fn main() -> Result<(), Box<dyn Error>> {
    let protector = match Protector::from_env()? {
        Some(protector) => protector,
        None => {
            let address = std::env::args().nth(1).ok_or("usage: line_counter ADDRESS")?;
            Protector::standalone(TcpListener::bind(address)?)?
        }
    };
    protector.set_nonblocking(true)?;
    let mut clients = Vec::new();
    while accept_all(&protector, &mut clients)? {
        // Only for the status, so it may be left out when the supervisor has no time.
        let _ = protector.open_connections(clients.len() as u32);
        serve(&protector, &mut clients)?;
    }
    for client in clients {
        let state = client.state();
        // What cannot be given back is closed: a drain that waited for clients that stay for ever would never end.
        if let Err(error) = protector.give_back(Connection::new(client.stream, client.listener), &state) {
            report(&error);
        }
    }
    Ok(())
}

/// Takes the connections that wait, new ones and those that an earlier generation gave back; false when it is time to
/// drain.
fn accept_all(protector: &Protector, clients: &mut Vec<Client>) -> io::Result<bool> {
    loop {
        match protector.accept() {
            Ok(Some(connection)) => clients.push(Client::new(connection)?),
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => {
                report(&error);
                thread::sleep(Duration::from_millis(100)); // until connections that end make room
                return Ok(true);
            }
        }
    }
}

/// Waits until somebody has something to do, and serves those clients that have.
fn serve(protector: &Protector, clients: &mut Vec<Client>) -> io::Result<()> {
    let mut sources = vec![PollFd::new(protector.as_fd(), PollFlags::POLLIN)];
    sources.extend(clients.iter().map(|client| {
        // A client that does not take its answers is not read from either.
        let wanted = if client.unsent.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        PollFd::new(client.stream.as_fd(), wanted)
    }));
    poll(&mut sources, PollTimeout::NONE)?;
    let ready: Vec<bool> = sources[1..].iter().map(|source| source.any() == Some(true)).collect();
    let mut ready = ready.into_iter();
    clients.retain_mut(|client| ready.next() != Some(true) || client.serve().unwrap_or(false));
    Ok(())
}

impl Client {
    fn new(mut connection: Connection) -> io::Result<Client> {
        let (lines, unsent) = connection.take_state().map(read_state).unwrap_or_default();
        let listener = connection.listener();
        let stream = connection.into_tcp_stream()?;
        stream.set_nonblocking(true)?;
        Ok(Client { stream, listener, lines, unsent })
    }

    /// The count in eight bytes, then the unsent answers. What the client has sent and we have not read stays in the
    /// socket and goes over with it.
    fn state(&self) -> Vec<u8> {
        [&self.lines.to_le_bytes()[..], &self.unsent].concat()
    }

    /// Reads some, counts, answers; false when the client has gone.
    fn serve(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            let mut bytes = [0; 1024];
            let count = match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) => return Ok(error.kind() == io::ErrorKind::WouldBlock),
            };
            for _ in bytes[..count].iter().filter(|byte| **byte == b'\n') {
                self.lines += 1;
                self.unsent.extend_from_slice(format!("{}\n", self.lines).as_bytes());
            }
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) => return Ok(error.kind() == io::ErrorKind::WouldBlock),
            }
        }
        Ok(true)
    }
}

/// What [`Client::state`] wrote; nothing of what another program wrote.
fn read_state(state: Vec<u8>) -> (u64, Vec<u8>) {
    match state.split_first_chunk() {
        Some((lines, unsent)) => (u64::from_le_bytes(*lines), unsent.to_vec()),
        None => (0, Vec::new()),
    }
}

fn report(error: &dyn Error) {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    let _ = writeln!(io::stderr(), "line_counter: {error}{causes}");
}
