//! Drives a client's machine: the connection, the times, what is written and what is kept, in an order in which a fall
//! at any point loses nothing.
//!
//! - Output is written, then its offset is kept, and only then it is acknowledged: what a killed process had written and
//!   not kept comes again, and nothing else.
//! - The secret of a new session is kept before it is confirmed; input that waits, before anything is sent for it.

mod keeping;

use self::keeping::{SAVE_BYTES, Saved};
use super::link::{Link, LinkError, Step};
use super::standard::{Input, Output};
use super::store::{Store, StoreError};
use super::terminal::Terminal;
use super::{ClientError, Source};
use crate::reactor::{Event, READABLE, Reactor, Registered, Signals};
use crate::session::client_state::{self, Breach, Client, End, Next};
use crate::session::credential::{Nonce, random};
use crate::session::frame::{Closed, Detached, Refusal, event};
use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::time::Instant;

/// So much is handed to the connection at a time.
const SEND: usize = 32 * 1024;

/// What happened, for the one who uses the client.
#[derive(Debug)]
pub(super) enum News {
    /// The client is attached.
    Attached {
        new: bool,
    },
    /// Input of which nobody can tell whether it has arrived.
    Uncertain(Vec<u8>),
    /// The destination takes no more input.
    InputLost,
    Gap {
        from: u64,
        to: u64,
    },
    GoAway(u32),
    Ended(End),
    Refused(Refusal),
    Detached(Detached),
    Closed(Closed),
    /// The connection is no more.
    Cut(LinkError),
    Breach(Breach),
    Silent,
    /// There is none.
    Unreachable(LinkError),
    /// What has come cannot be kept.
    NotSaved(StoreError),
    /// The destination shows, or hides, what is typed; or does so no more.
    RemoteEcho(bool),
}

/// How a client uses its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Connected when asked. All that waits is kept first.
    Polling,
    /// Connected all the time.
    Following,
}

/// The client and everything around it.
pub(super) struct Driver {
    pub(super) client: Client,
    pub(super) output: Output,
    pub(super) input: Input,
    /// Standard input may have something.
    pub(super) input_ready: bool,
    pub(super) terminal: Option<Terminal>,
    pub(super) news: VecDeque<News>,
    pub(super) caught: Vec<Signal>,
    /// Whether it connects when the machine says so.
    pub(super) connects: bool,
    used: Use,
    link: Link,
    reactor: Reactor<Source>,
    signals: Registered<Signals>,
    /// None: nothing is kept.
    store: Option<Store>,
    server: String,
    remote_echo: bool,
    saved: Saved,
    ended: bool,
}

/// What a driver begins with.
pub(super) struct Equipment {
    pub(super) client: Client,
    pub(super) used: Use,
    pub(super) store: Option<Store>,
    pub(super) remote_echo: bool,
    pub(super) server: String,
    pub(super) to: crate::net::endpoint::Connect,
    pub(super) signals: Signals,
}

impl Driver {
    pub(super) fn new(equipment: Equipment) -> Result<Driver, ClientError> {
        let Equipment { mut client, used, store, remote_echo, server, to, signals } = equipment;
        let setup = |source| ClientError::Setup { source };
        let mut reactor = Reactor::new().map_err(setup)?;
        let link = Link::new(to, reactor.waker(Source::Names).map_err(setup)?)?;
        signals.catch_also(&[Signal::SIGWINCH, Signal::SIGTSTP, Signal::SIGCONT]).map_err(setup)?;
        let signals = reactor.register(signals, Source::Signals, READABLE).map_err(setup)?;
        let written = client.progress().output;
        let output = Output::new(written, &mut reactor).map_err(setup)?;
        let input = Input::new(&mut reactor).map_err(setup)?;
        let terminal = Terminal::of_standard_input();
        if let Some((columns, rows)) = terminal.as_ref().and_then(Terminal::size) {
            client.resize(columns, rows);
        }
        let mut driver = Driver {
            client,
            output,
            input,
            input_ready: true,
            terminal,
            news: VecDeque::new(),
            caught: Vec::new(),
            connects: used == Use::Following,
            used,
            link,
            reactor,
            signals,
            store,
            server,
            remote_echo,
            saved: Saved { output: written, ..Saved::default() },
            ended: false,
        };
        // What was found in the file is in it.
        (driver.saved.at, driver.saved.rest) = (Some(Instant::now()), Some(driver.rest()));
        Ok(driver)
    }

    /// Whether the destination shows or hides what is typed, as far as has come to the screen.
    pub(super) fn is_echoed_remotely(&self) -> bool {
        self.remote_echo
    }

    /// Whether others could read along.
    pub(super) fn is_in_clear_to_elsewhere(&self) -> bool {
        self.link.is_in_clear_to_elsewhere()
    }

    /// Waits until something happens, and does what follows of it. What there is to be kept and sent already goes before.
    pub(super) fn turn(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        self.keep(now)?;
        self.transmit(now);
        self.set_times();
        let mut events = Vec::new();
        self.reactor.wait(&mut events).map_err(|source| ClientError::Wait { source })?;
        let now = Instant::now();
        for event in &events {
            self.hear(now, event);
        }
        if self.client.tick(now).is_err() {
            self.link.close();
            self.news.push_back(News::Silent);
        }
        self.connect(now);
        self.receive(now)?;
        while self.put_out(now)? {
            self.keep(now)?;
        }
        self.keep(now)?;
        self.transmit(now);
        Ok(())
    }

    fn set_times(&mut self) {
        let connect = match self.client.next() {
            Next::At(at) if self.connects && self.link.is_down() => Some(at),
            Next::At(_) | Next::Connected | Next::Asked | Next::Never => None,
        };
        self.reactor.set_deadline(Source::Connect, connect);
        self.reactor.set_deadline(Source::Server, self.link.due());
        self.reactor.set_deadline(Source::Protocol, self.client.deadline());
        self.reactor.set_deadline(Source::Save, self.save_due());
    }

    fn hear(&mut self, now: Instant, event: &Event<Source>) {
        match event.key {
            Source::Server => self.proceed(now, Some(event)),
            Source::Names => self.proceed(now, None),
            Source::Signals => self.caught.extend(self.signals.pending()),
            Source::Input => self.input_ready = true,
            Source::Output if event.failed => self.output.hear_closed(),
            Source::Output | Source::Connect | Source::Protocol | Source::Save => {}
        }
    }

    fn connect(&mut self, now: Instant) {
        if let Next::At(at) = self.client.next()
            && self.connects
            && at <= now
            && self.link.is_down()
        {
            self.link.begin(now);
            self.proceed(now, None);
        }
    }

    fn proceed(&mut self, now: Instant, event: Option<&Event<Source>>) {
        match self.link.proceed(now, event, &mut self.reactor) {
            Ok(Step::Wait | Step::Ready) => {}
            Ok(Step::Connected) => match random() {
                Ok(nonce) => {
                    self.client.connected(now, Nonce(nonce));
                    self.transmit(now);
                }
                Err(error) => {
                    self.link.close();
                    self.client.unreachable(now);
                    log::error!("{}", crate::chain(&error));
                }
            },
            Err(error) => {
                self.client.unreachable(now);
                self.news.push_back(News::Unreachable(error));
            }
        }
    }

    /// Takes in what the server has said.
    fn receive(&mut self, now: Instant) -> Result<(), ClientError> {
        while self.client.next() == Next::Connected {
            match self.link.read() {
                Ok(Some(length)) => self.understand(now, length)?,
                Ok(None) => break,
                Err(error) => {
                    self.link.close();
                    self.client.lost(now);
                    self.news.push_back(News::Cut(error));
                }
            }
        }
        if self.client.next() != Next::Connected && self.link.due().is_none() {
            self.link.close();
        }
        Ok(())
    }

    fn understand(&mut self, now: Instant, length: usize) -> Result<(), ClientError> {
        let mut from = 0;
        loop {
            let (decoder, bytes) = self.link.received(from, length);
            from += decoder.feed(bytes);
            while self.frame(now)? {}
            if from == length || self.client.next() != Next::Connected {
                return Ok(());
            }
        }
    }

    /// Takes in a frame; whether there may be another one.
    fn frame(&mut self, now: Instant) -> Result<bool, ClientError> {
        let (decoder, _) = self.link.received(0, 0);
        let said = match decoder.frame() {
            Ok(None) => return Ok(false),
            Ok(Some(frame)) => self.client.said(now, frame),
            Err(error) => {
                self.client.lost(now);
                Err(Breach::Frame(error))
            }
        };
        let (news, attached) = match said {
            Ok(None) => (None, None),
            Ok(Some(client_state::Event::Attached { new, .. })) => (Some(News::Attached { new }), Some(new)),
            Ok(Some(event)) => (told(event, &mut self.output), None),
            Err(breach) => (Some(News::Breach(breach)), None),
        };
        if let Some(News::Ended(_)) = news {
            self.ended = true;
        }
        self.news.extend(news);
        if let Some(new) = attached {
            self.link.proved();
            if new {
                self.keep_ticket(now)?;
            }
        }
        Ok(self.client.next() == Next::Connected)
    }

    /// Writes output as far as that does not wait; whether so much was written that it is to be kept before there is more.
    fn put_out(&mut self, now: Instant) -> Result<bool, ClientError> {
        let until = self.saved.output.saturating_add(SAVE_BYTES);
        let until = if self.store.is_some() { until } else { u64::MAX };
        let echo = self.output.write(until).map_err(|source| ClientError::Output { source })?;
        if let Some(remote) = echo
            && remote != self.remote_echo
        {
            self.remote_echo = remote;
            self.news.push_back(News::RemoteEcho(remote));
        }
        if self.store.is_none() {
            self.deal_with(now, self.output.written());
        }
        Ok(self.output.written() >= until)
    }

    /// Output up to there is dealt with, and its end if there is no more.
    fn deal_with(&mut self, now: Instant, written: u64) {
        self.client.done(now, written);
        if self.ended && self.output.is_done() {
            self.ended = false;
            self.client.end_done();
        }
    }

    fn transmit(&mut self, now: Instant) {
        while self.client.next() == Next::Connected {
            if self.link.outgoing().len() < SEND {
                self.client.transmit(SEND, self.link.outgoing());
            }
            match self.link.send() {
                Ok(true) if self.client.has_something_to_say() => {}
                Ok(_) => return,
                Err(error) => {
                    self.link.close();
                    self.client.lost(now);
                    self.news.push_back(News::Cut(error));
                }
            }
        }
    }

    /// Leaves the session alone: the connection ends, and nothing else.
    pub(super) fn hang_up(&mut self, now: Instant) {
        self.link.close();
        self.client.lost(now);
        self.connects = self.used == Use::Following;
    }

    /// The session is over: nothing of it is kept.
    pub(super) fn forget(&mut self) -> Result<(), StoreError> {
        self.store.take().map_or(Ok(()), Store::remove)
    }

    /// The signals, for one who ends by one.
    pub(super) fn into_signals(self) -> Signals {
        // What follows, the terminal among it, is given back first.
        let Driver { signals, terminal, store, .. } = self;
        drop((terminal, store));
        signals.into_source()
    }
}

/// What an event is for the one who uses the client; output goes its way.
fn told(event: client_state::Event<'_>, output: &mut Output) -> Option<News> {
    use client_state::Event;
    match event {
        Event::Output { offset, bytes } => {
            output.push(offset, bytes);
            None
        }
        Event::Happened { kind: event::ECHO, body: [remote], .. } => {
            output.push_echo(*remote == 1);
            None
        }
        Event::Happened { kind: event::INPUT_LOST, .. } => Some(News::InputLost),
        Event::Happened { .. } | Event::Arrived { .. } | Event::Destination(_) => None,
        Event::Attached { new, .. } => Some(News::Attached { new }),
        Event::Overtaken { uncertain } => Some(News::Uncertain(uncertain)),
        Event::Gap { from, to } => Some(News::Gap { from, to }),
        Event::Ended(end) => Some(News::Ended(end)),
        Event::GoAway(seconds) => Some(News::GoAway(seconds)),
        Event::Refused(refusal) => Some(News::Refused(refusal)),
        Event::Detached(detached) => Some(News::Detached(detached)),
        Event::Closed(closed) => Some(News::Closed(closed)),
    }
}
