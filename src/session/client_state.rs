//! The client's end of a session, whatever it runs over: the command line's client, the gateway. Pure.
//!
//! A [`Client`] lives longer than its connections. It knows how far the output has come, keeps the input until it has
//! arrived, comes to the session again after each connection, and decides whether it may do that by itself. Its driver
//! makes the connections, decodes what comes ([`Decoder`](crate::session::frame::Decoder)) and sends what there is to
//! [transmit](Client::transmit).
//!
//! Output is given to the application once in the life of a `Client`, and counts as arrived when the application says
//! so ([`Client::done`]). Input arrives once, by its offset; where somebody else has sent input in between, what may
//! have been lost or not is given back.

mod arriving;
mod coming;
mod event;
mod link;
mod queue;
mod sending;
mod streams;
#[cfg(test)]
mod tests;
mod time;

pub use self::event::{Breach, End, Event, Next, Silent};

use self::link::{Attached, Checks, Link, Owed, Terms};
use self::queue::Queue;
use crate::session::credential::{BootId, Secret, SessionId};
use crate::session::frame::{Command, Frame, Mode};
use std::time::{Duration, Instant};

/// Most input that waits, if the application does not want less.
pub const MOST_INPUT: usize = 256 * 1024;
/// How much output may come that has not been dealt with, if the application does not want less.
pub const WINDOW: u32 = 256 * 1024;
/// No stream comes to this byte: it would take a century at any speed. So a server that names it has made it up.
const FURTHEST: u64 = 1 << 62;
/// How long a server may take for ACCEPT.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the application wants of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As what it comes.
    pub mode: Mode,
    /// For how many seconds a new session shall be kept while nobody is there; 0: as the server likes.
    pub ttl: u32,
    /// How much output may come that has not been dealt with, in bytes.
    pub window: u32,
    /// How much input may wait, in bytes.
    pub input: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { mode: Mode::Steal, ttl: 0, window: WINDOW, input: MOST_INPUT }
    }
}

/// What it takes to resume a session. Whoever keeps it keeps a secret.
#[derive(PartialEq, Eq)]
pub struct Ticket {
    /// The session.
    pub id: SessionId,
    /// Its secret.
    pub secret: Secret,
    /// The start of the server that it was last met at.
    pub boot: BootId,
}

/// How far a session has come, for a client that goes on with it later, or in another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Nobody else was attached up to this epoch, as far as the client knows.
    pub epoch: u64,
    /// The first byte of output that was not dealt with.
    pub output: u64,
    /// The first byte of input that may not have arrived, counted by what clients have sent; a writer counts all.
    pub input: u64,
    /// The input from there on.
    pub queued: Vec<u8>,
    /// The input ends with that.
    pub ended: bool,
    /// Nothing has shown that the server knows that the ticket is kept. If it does not, it has dropped the session, and
    /// another one is as good.
    pub fresh: bool,
}

/// The output, as far as it has come.
#[derive(Debug, Default)]
struct Output {
    /// The first byte that has not come.
    next: u64,
    /// The first byte that was not dealt with.
    done: u64,
    end: Option<End>,
    /// The end was dealt with.
    end_done: bool,
}

/// What the application wants the server to know, whenever there is a connection.
#[derive(Debug, Default)]
struct Wishes {
    size: Option<(u16, u16)>,
    close: bool,
    /// The ticket is kept.
    kept: bool,
    /// Output from the oldest byte on.
    oldest: bool,
}

/// One client of one session.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    ticket: Option<Ticket>,
    /// The epoch in which it was last attached, and how often it has asked since then to be, without knowing the answer.
    epoch: u64,
    asked: u64,
    /// The server has shown that it knows that the ticket is kept.
    confirmed: bool,
    /// The destination takes no more input.
    input_lost: bool,
    input: Queue,
    output: Output,
    wishes: Wishes,
    link: Link,
    /// What is said first on a connection, until it is fetched.
    first: Vec<u8>,
    next: Next,
    failures: u32,
}

impl std::fmt::Debug for Ticket {
    /// Without the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Ticket {{ {}, .. }}", self.id)
    }
}

impl Client {
    /// A client that makes a session.
    pub fn new(now: Instant, settings: Settings) -> Client {
        Client {
            input: Queue::new(settings.input, 0),
            settings,
            ticket: None,
            epoch: 0,
            asked: 0,
            confirmed: false,
            input_lost: false,
            output: Output::default(),
            wishes: Wishes::default(),
            link: Link::None,
            first: Vec::new(),
            next: Next::At(now),
            failures: 0,
        }
    }

    /// A client that goes on with a session.
    pub fn resume(now: Instant, settings: Settings, ticket: Ticket, progress: Progress) -> Client {
        let Progress { epoch, output, input, queued, ended, fresh: unconfirmed } = progress;
        let wishes = Wishes { kept: true, ..Wishes::default() };
        let queue = Queue::restored(settings.input, input, &queued, ended);
        let output = Output { next: output, done: output, ..Output::default() };
        let fresh = Client::new(now, settings);
        Client { ticket: Some(ticket), epoch, confirmed: !unconfirmed, input: queue, output, wishes, ..fresh }
    }

    /// What it takes to resume; there is some once it was attached.
    pub fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        Progress {
            epoch: self.epoch.saturating_add(self.asked),
            output: self.output.done,
            input: self.input.base(),
            queued: self.input.bytes(),
            ended: self.input.has_ended(),
            fresh: !self.confirmed,
        }
    }

    /// When to connect.
    pub fn next(&self) -> Next {
        self.next
    }

    /// Whether it is attached.
    pub fn is_attached(&self) -> bool {
        matches!(self.link, Link::Attached(_))
    }

    /// Queues input, as much as there is room for, and says how much that is; none after its end.
    pub fn input(&mut self, bytes: &[u8]) -> usize {
        self.input.push(bytes)
    }

    /// How much input there is room for.
    pub fn room(&self) -> usize {
        self.input.room()
    }

    /// Whether the input has not ended, by this client or another one.
    pub fn takes_input(&self) -> bool {
        !self.input.has_ended()
    }

    /// How much input waits to arrive.
    pub fn waiting(&self) -> usize {
        self.input.waiting()
    }

    /// The input ends with what is queued.
    pub fn finish(&mut self) {
        self.input.end();
        self.with_owed(|owed| owed.fin = true);
    }

    /// Takes back what waits to arrive, of a session whose input nobody takes any more: the destination broke or was never
    /// reached, or the session is over. Nothing of it is sent again.
    pub fn undelivered(&mut self) -> Vec<u8> {
        let dead = self.input_lost
            || self.next == Next::Never
            || matches!(self.output.end, Some(End::Reset(_) | End::Failed(_)));
        if dead { self.input.cut(self.input.base()) } else { Vec::new() }
    }

    /// Asks the server to answer once all that is to be sent by now has come to it. Of no use without a connection.
    pub fn check(&mut self) {
        self.with_owed(|owed| owed.checks.wanted = true);
    }

    /// Whether it has answered.
    pub fn is_checked(&self) -> bool {
        match &self.link {
            Link::Attached(Attached { owed: Owed { checks, .. }, .. }) => {
                !checks.wanted && checks.asked > 0 && checks.asked == checks.answered
            }
            Link::None | Link::Greeting { .. } | Link::Coming { .. } => false,
        }
    }

    /// Up to where there was output when this connection was attached, once all of that has come, with its end if it had
    /// ended.
    pub fn caught_up(&self) -> Option<u64> {
        match &self.link {
            Link::Attached(Attached { announced: (next, ended), .. }) => {
                let has_come = self.output.next >= *next && (!ended || self.output.end.is_some());
                has_come.then_some(*next)
            }
            Link::None | Link::Greeting { .. } | Link::Coming { .. } => None,
        }
    }

    /// The terminal has this size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.wishes.size = Some((columns, rows));
        self.with_owed(|owed| owed.size = true);
    }

    /// Tells the destination something that is no input; false when there is no connection, since it means this moment.
    pub fn command(&mut self, command: Command) -> bool {
        const MOST: usize = 16;
        let mut taken = false;
        self.with_owed(|owed| {
            taken = owed.commands.len() < MOST;
            if taken {
                owed.commands.push(command);
            }
        });
        taken
    }

    /// The session is to end. That is said until it is so.
    pub fn close(&mut self) {
        self.wishes.close = true;
        self.with_owed(|owed| owed.close = true);
    }

    /// The ticket of a new session is kept. Only from now on the server keeps the session, and connects to the
    /// destination: a client that ends before leaves nothing behind.
    pub fn kept(&mut self) {
        self.wishes.kept = true;
    }

    /// Somebody wants a connection now, whatever has happened; unless the session is over.
    pub fn ask(&mut self, now: Instant) {
        if let Next::At(_) | Next::Asked = self.next {
            self.next = Next::At(now);
        }
        self.failures = 0;
    }

    /// Output shall begin with the oldest byte that there still is, also if it was had before.
    pub fn from_oldest(&mut self) {
        self.wishes.oldest = true;
    }

    /// Gives the session up for a new one. What waited to arrive is given back.
    pub fn start_anew(&mut self, now: Instant) -> Vec<u8> {
        let waiting = self.input.bytes();
        let size = self.wishes.size;
        *self = Client::new(now, self.settings.clone());
        self.wishes.size = size;
        waiting
    }

    fn with_owed(&mut self, change: impl FnOnce(&mut Owed)) {
        if let Link::Attached(attached) = &mut self.link {
            change(&mut attached.owed);
        }
    }

    /// Takes in a frame of the server. After an error, or one of the events that say so, the connection is to be closed;
    /// until it is attached, [nothing is proved](crate::session::frame::Decoder::proved).
    pub fn said<'a>(&mut self, now: Instant, frame: Frame<'a>) -> Result<Option<Event<'a>>, Breach> {
        let event = match &mut self.link {
            Link::None => return Ok(None),
            Link::Greeting { .. } => self.greeted(now, frame),
            Link::Coming { .. } => self.answered(now, frame),
            Link::Attached(attached) => {
                (attached.heard, attached.pings, attached.owed.ping) = (now, 0, false);
                self.streams(frame)
            }
        };
        if let Err(breach) = event {
            self.broke(now, breach);
        }
        event
    }
}
