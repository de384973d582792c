//! The client, in a process of its own: bytes that come back one by one, streams in either direction, and a client that
//! leaves and comes again.

use crate::client::{Client, Way};
use crate::common::Result;
use crate::common::machine::{now, raise_open_files};
use crate::destination::{BLOCK, Wish};
use serde::{Deserialize, Serialize};
use std::io::Write;

/// How much is sent at a time.
const CHUNK: usize = 60 * 1024;
/// So many blocks are sent before the destination says that the first one has come.
const AHEAD: u64 = 16;
/// So many round trips are not counted at the beginning.
const WARM: usize = 200;

/// What shall be done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Order {
    /// A byte is sent and comes back, again and again.
    Trips { seconds: f64 },
    /// The destination says all that it can.
    Down { seconds: f64 },
    /// The destination is sent all that it can take.
    Up { seconds: f64 },
    /// With so many bytes of output that have not been acknowledged the connection is cut, so many times; each time a byte is sent
    /// afterwards and comes back.
    Resume { replay: u64, times: usize },
    /// The same once, the connection being cut by the other side, some time after a line was said.
    Restart { replay: u64 },
    /// So many sessions, each with a line that has come back; their clients leave.
    Leave { sessions: usize },
}

/// What became of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Bytes that arrived, round trips, or sessions.
    pub done: u64,
    pub seconds: f64,
    /// Microseconds: of a round trip, or until there is anything again.
    pub p50: f64,
    pub p99: f64,
    /// Microseconds until there is everything again: the median.
    pub whole: f64,
}

/// Carries an order out, and prints what became of it.
pub fn run(order: &str) -> Result<()> {
    raise_open_files()?;
    let (way, port, order) = serde_json::from_str(order)?;
    let outcome = match order {
        Order::Trips { seconds } => trips(Client::open(way, port)?, seconds)?,
        Order::Down { seconds } => down(Client::open(way, port)?, seconds)?,
        Order::Up { seconds } => up(Client::open(way, port)?, seconds)?,
        Order::Resume { replay, times } => resume(way, port, (replay, times), |_| Ok(()))?,
        Order::Restart { replay } => resume(way, port, (replay, 1), wait_for_the_end)?,
        Order::Leave { sessions } => leave(way, port, sessions)?,
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn trips(mut client: Client, seconds: f64) -> Result<Outcome> {
    client.send(&Wish::Echo.to_bytes())?;
    let mut took = Vec::with_capacity(1 << 18);
    let (mut begin, mut byte) = (now(), 0_u8);
    while now() - begin < (seconds * 1e9) as u64 {
        let sent = now();
        byte = byte.wrapping_add(1);
        client.send(&[byte])?;
        if client.receive()? != (1, byte) {
            return Err("another byte came back".into());
        }
        took.push(now() - sent);
        if took.len() == WARM {
            begin = now();
        }
    }
    let warm = WARM.min(took.len());
    let (done, seconds) = (took.len() as u64, (now() - begin) as f64 / 1e9);
    let mut took = took.split_off(warm);
    Ok(Outcome { done, seconds, p50: part(&mut took, 0.5), p99: part(&mut took, 0.99), whole: 0.0 })
}

/// The value below which this part of all is, in microseconds.
fn part(nanoseconds: &mut [u64], part: f64) -> f64 {
    nanoseconds.sort_unstable();
    let index = (nanoseconds.len().saturating_sub(1) as f64 * part) as usize;
    nanoseconds.get(index).map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1e3)
}

fn down(mut client: Client, seconds: f64) -> Result<Outcome> {
    client.send(&Wish::Say(u64::MAX).to_bytes())?;
    let (begin, mut done) = (now(), 0);
    while now() - begin < (seconds * 1e9) as u64 {
        done += client.receive()?.0;
    }
    Ok(Outcome { done, seconds: (now() - begin) as f64 / 1e9, ..Outcome::default() })
}

fn up(mut client: Client, seconds: f64) -> Result<Outcome> {
    client.send(&Wish::Count(u64::MAX).to_bytes())?;
    let chunk = vec![b'x'; CHUNK];
    let (begin, mut sent, mut counted) = (now(), 0, 0);
    while now() - begin < (seconds * 1e9) as u64 {
        let mut left = BLOCK as usize;
        while left > 0 {
            let count = left.min(CHUNK);
            client.send(&chunk[..count])?;
            left -= count;
        }
        sent += 1;
        while sent - counted > AHEAD {
            counted += client.receive()?.0;
        }
    }
    while counted < sent {
        counted += client.receive()?.0;
    }
    Ok(Outcome { done: counted * BLOCK, seconds: (now() - begin) as f64 / 1e9, ..Outcome::default() })
}

fn resume(
    way: Way,
    port: u16,
    (replay, times): (u64, usize),
    before: impl Fn(&mut Client) -> Result<()>,
) -> Result<Outcome> {
    let (mut first, mut whole) = (Vec::new(), Vec::new());
    let began = now();
    for _ in 0..times {
        let mut client = Client::open(way, port)?;
        client.acknowledge(false)?;
        // At least a byte: so the wish has come through, whoever is killed then.
        let said = replay.max(1);
        client.send(&Wish::Say(said).to_bytes())?;
        receive(&mut client, said)?;
        // Its echo is everything else that there is to be said again.
        client.acknowledge(replay == 0)?;
        before(&mut client)?;
        let cut = now();
        let mut client = client.come_again(port)?;
        client.acknowledge(true)?;
        client.send(b"!")?;
        let (count, mut last) = client.receive()?;
        first.push(now() - cut);
        let mut left = (replay + 1).checked_sub(count).ok_or("too much has come")?;
        while left > 0 {
            let (count, byte) = client.receive()?;
            (left, last) = (left.checked_sub(count).ok_or("too much has come")?, byte);
        }
        whole.push(now() - cut);
        if last != b'!' {
            return Err("another byte came back".into());
        }
    }
    let (p50, p99) = (part(&mut first, 0.5), part(&mut first, 0.99));
    let seconds = (now() - began) as f64 / 1e9;
    Ok(Outcome { done: times as u64, seconds, p50, p99, whole: part(&mut whole, 0.5) })
}

fn receive(client: &mut Client, mut left: u64) -> Result<()> {
    while left > 0 {
        left = left.checked_sub(client.receive()?.0).ok_or("too much has come")?;
    }
    Ok(())
}

/// Says a line, and waits for the end of the connection.
fn wait_for_the_end(client: &mut Client) -> Result<()> {
    println!();
    std::io::stdout().flush()?;
    while client.receive().is_ok() {}
    Ok(())
}

fn leave(way: Way, port: u16, sessions: usize) -> Result<Outcome> {
    let began = now();
    for _ in 0..sessions {
        let mut client = Client::open(way, port)?;
        client.send(b"somebody\r\n")?;
        receive(&mut client, 10)?;
        client.acknowledge(true)?;
    }
    Ok(Outcome { done: sessions as u64, seconds: (now() - began) as f64 / 1e9, ..Outcome::default() })
}
