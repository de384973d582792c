//! What happens on the connections to destinations once they are there: reading, writing, and their ends.

use super::link::{Shutdown, Stage};
use super::wire::Wire;
use super::{Key, PORTION, Server, Tools, short};
use crate::reactor::Event;
use crate::session::credential::SessionId;
use crate::session::state::{Input, Session};
use crate::session::telnet::{Received, UNDECIDED};
use log::debug;
use std::io;
use std::time::{Duration, Instant};

/// How often a connection is read before others have their turn.
const ROUNDS: usize = 4;
/// So much input is put into the form of telnet at a time.
const ENCODED: usize = 4096;
/// A destination that has so much to be sent that is no input is not read from.
const MOST_ANSWERS: usize = 64 * 1024;
/// How long a destination has to take what was written to it, when nobody wants the connection any more.
const CLOSING: Duration = Duration::from_secs(10);

impl Server {
    pub(super) fn link_event(&mut self, id: SessionId, event: &Event<Key>) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        match &mut link.stage {
            Stage::Connecting(connecting) => {
                connecting.hear(event);
                self.proceed(id);
            }
            Stage::Securing(wire, _) => {
                wire.on(event);
                self.agree(id);
            }
            Stage::Open(_) if event.due => self.decide(id),
            Stage::Open(wire) => {
                wire.on(event);
                if event.failed && link.ended {
                    self.input_fails(id, None);
                }
                self.write_link(id);
                self.read_link(id);
            }
            Stage::Closing(wire) => {
                wire.on(event);
                self.go_on_closing(id, event.due);
            }
            Stage::Waiting | Stage::Closed => {}
        }
    }

    /// Reads what the destination says, as far as there is room for it.
    pub(super) fn read_link(&mut self, id: SessionId) {
        let mut plain = std::mem::take(&mut self.tools.plain);
        for round in 0.. {
            let room = self.sessions.session(id).map_or(0, Session::room).min(PORTION);
            let stopping = self.reads_no_more();
            let Some(link) = self.links.get_mut(&id) else {
                break;
            };
            let held_up = room == 0 || stopping || link.ended || link.out.len() > MOST_ANSWERS;
            let Some(wire) = link.wire().filter(|wire| wire.readable && !held_up) else {
                break;
            };
            if round == ROUNDS {
                self.reactor.again(Key::Link(id));
                break;
            }
            match wire.read(&mut plain[..room], &mut self.tools.cipher) {
                Ok(None) => {}
                Ok(Some(0)) => self.output_ends(id, None),
                Ok(Some(count)) => self.output_comes(id, &plain[..count]),
                Err(error) => self.output_ends(id, Some(&error)),
            }
        }
        self.tools.plain = plain;
    }

    fn output_comes(&mut self, id: SessionId, bytes: &[u8]) {
        let mut received = std::mem::take(&mut self.tools.received);
        if let Some(link) = self.links.get_mut(&id) {
            link.moved = self.clock.now();
            link.telnet.receive(bytes, &mut received);
            let undecided = link.telnet.is_undecided().then(|| Instant::now() + UNDECIDED);
            self.reactor.set_deadline(Key::Link(id), undecided);
        }
        self.deliver(id, received);
    }

    /// What may have been the beginning of telnet was none.
    fn decide(&mut self, id: SessionId) {
        let mut received = std::mem::take(&mut self.tools.received);
        if let Some(link) = self.links.get_mut(&id) {
            link.telnet.release(&mut received);
        }
        self.deliver(id, received);
    }

    /// Passes on what telnet has made of the destination's bytes.
    fn deliver(&mut self, id: SessionId, mut received: Received) {
        let mut from = 0;
        for event in &received.events {
            self.output(id, &received.clean[from..event.at]);
            from = event.at;
            if let Some((kind, body)) = event.change.event() {
                self.on(id, Input::Event { kind, body });
            }
        }
        self.output(id, &received.clean[from..]);
        if let Some(link) = self.links.get_mut(&id)
            && link.shutdown == Shutdown::No
            && !received.answers.is_empty()
        {
            link.out.bytes().extend_from_slice(&received.answers);
            self.write_link(id);
        }
        received.clean.clear();
        received.events.clear();
        received.answers.clear();
        self.tools.received = received;
    }

    fn output(&mut self, id: SessionId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.on(id, Input::Output(bytes));
        }
    }

    /// The destination says nothing more: well, or because of an error.
    fn output_ends(&mut self, id: SessionId, error: Option<&io::Error>) {
        self.decide(id);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.ended = true;
        link.moved = self.clock.now();
        let errno = error.map(errno).or(link.broken);
        self.reactor.set_deadline(Key::Link(id), None);
        match (errno, error) {
            (Some(errno), error) => {
                debug!("session {}: the destination broke: {error:?}", short(id));
                self.on(id, Input::Reset(errno));
            }
            (None, _) => self.on(id, Input::Eof),
        }
    }

    /// Writes what there is for the destination, as far as it takes it.
    pub(super) fn write_link(&mut self, id: SessionId) {
        loop {
            let Some(link) = self.links.get_mut(&id) else {
                return;
            };
            if link.broken.is_some() {
                return;
            }
            let Stage::Open(wire) = &mut link.stage else {
                return;
            };
            match link.out.write_to(wire).and_then(|all| Ok(all && wire.flush()?)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.input_fails(id, Some(&error)),
            }
            if link.pending > 0 {
                let count = std::mem::take(&mut link.pending);
                link.moved = self.clock.now();
                self.on(id, Input::Wrote(count));
                continue;
            }
            match self.write_input(id) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.input_fails(id, Some(&error)),
            }
        }
        self.shut_down(id);
    }

    /// Takes input; whether there may be more, or some is on its way.
    fn write_input(&mut self, id: SessionId) -> io::Result<bool> {
        let (Some(session), Some(link)) = (self.sessions.session(id), self.links.get_mut(&id)) else {
            return Ok(false);
        };
        let Stage::Open(wire) = &mut link.stage else {
            return Ok(false);
        };
        let (front, back) = session.input();
        let part = if front.is_empty() { back } else { front };
        if part.is_empty() || link.shutdown != Shutdown::No {
            return Ok(false);
        }
        if link.telnet.is_spoken() {
            let part = &part[..part.len().min(ENCODED)];
            link.telnet.send(part, link.out.bytes());
            link.pending = part.len();
            return Ok(true);
        }
        match wire.write(part)? {
            0 => Ok(false),
            // It counts once it is with the destination's socket.
            count if wire.is_secure() => {
                link.pending = count;
                Ok(true)
            }
            count => {
                link.moved = self.clock.now();
                self.on(id, Input::Wrote(count));
                Ok(true)
            }
        }
    }

    /// The destination takes no more. What it says may go on.
    fn input_fails(&mut self, id: SessionId, error: Option<&io::Error>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.broken = Some(error.map_or(0, errno));
            link.pending = 0;
            link.out.forget();
            if let Some(wire) = link.wire() {
                // Whether there is more is for the next read to say.
                wire.readable = true;
            }
            self.on(id, Input::WriteFailed);
            self.reactor.again(Key::Link(id));
        }
    }

    /// Tells the destination that the input has ended, if that is due and everything before it is sent.
    pub(super) fn shut_down(&mut self, id: SessionId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.shutdown != Shutdown::Due || !link.out.is_empty() {
            return;
        }
        link.shutdown = Shutdown::Done;
        if let Some(wire) = link.wire()
            && let Err(error) = wire.shutdown()
        {
            debug!("session {}: {error}", short(id));
        }
    }

    /// The connection is of no more use.
    pub(super) fn release(&mut self, id: SessionId) {
        self.shut_down(id);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.stage = match std::mem::replace(&mut link.stage, Stage::Closed) {
            Stage::Open(wire) if wire.is_secure() && link.broken.is_none() => Stage::Closing(wire),
            Stage::Open(wire) => {
                wire.close();
                Stage::Closed
            }
            stage => stage,
        };
        self.begin_closing(id);
    }

    /// A connection that is closing has so long for it.
    fn begin_closing(&mut self, id: SessionId) {
        if let Some(Stage::Closing(_)) = self.links.get(&id).map(|link| &link.stage) {
            let until = self.stop_limit().unwrap_or_else(|| Instant::now() + CLOSING);
            self.reactor.set_deadline(Key::Link(id), Some(until));
            self.go_on_closing(id, false);
        }
    }

    /// Goes on with a connection that nobody wants any more: what is left in its TLS session is sent, and what the
    /// destination still says is thrown away, until it has ended.
    fn go_on_closing(&mut self, id: SessionId, late: bool) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let heard_out = link.is_heard_out();
        let Stage::Closing(wire) = &mut link.stage else {
            return;
        };
        let done = late
            || match wire.flush() {
                Ok(false) => false,
                Ok(true) if heard_out => true,
                Ok(true) => match throw_away(wire, &mut self.tools) {
                    Ok(Thrown::Nothing) => false,
                    Ok(Thrown::Some) => {
                        self.reactor.again(Key::Link(id));
                        false
                    }
                    Ok(Thrown::All) | Err(_) => true,
                },
                Err(_) => true,
            };
        if done {
            self.close_link(id);
            if self.sessions.session(id).is_none() {
                self.links.remove(&id);
            }
        }
    }

    /// The destination is left at once: it sees a reset.
    pub(super) fn break_off(&mut self, id: SessionId) {
        if let Some(link) = self.links.get_mut(&id) {
            if let Stage::Open(wire) = std::mem::replace(&mut link.stage, Stage::Closed) {
                wire.break_off();
            }
            self.reactor.set_deadline(Key::Link(id), None);
        }
    }

    pub(super) fn close_link(&mut self, id: SessionId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Closed;
            self.reactor.set_deadline(Key::Link(id), None);
        }
    }

    /// A session is over, and with it its connection, but for what the destination has still to be sent, or to read.
    pub(super) fn forget_link(&mut self, id: SessionId) {
        let Some(mut link) = self.links.remove(&id) else {
            return;
        };
        let heard_out = link.is_heard_out();
        match std::mem::replace(&mut link.stage, Stage::Closed) {
            Stage::Closing(wire) => {
                link.stage = Stage::Closing(wire);
                self.links.insert(id, link);
            }
            Stage::Open(mut wire) => {
                self.reactor.set_deadline(Key::Link(id), None);
                // For TLS besides: that this is an end and no accident.
                let told = wire.shutdown();
                if heard_out || told.is_err() {
                    return wire.close();
                }
                link.stage = Stage::Closing(wire);
                self.links.insert(id, link);
                self.begin_closing(id);
            }
            Stage::Waiting | Stage::Connecting(_) | Stage::Securing(..) | Stage::Closed => {
                self.reactor.set_deadline(Key::Link(id), None);
            }
        }
    }
}

/// What was thrown away of what a destination said.
enum Thrown {
    /// It says nothing at the moment.
    Nothing,
    /// There may be more.
    Some,
    /// It has come to its end.
    All,
}

/// Reads what nobody wants.
fn throw_away(wire: &mut Wire, tools: &mut Tools) -> io::Result<Thrown> {
    for _ in 0..ROUNDS {
        if !wire.readable {
            return Ok(Thrown::Nothing);
        }
        if wire.read(&mut tools.plain, &mut tools.cipher)? == Some(0) {
            return Ok(Thrown::All);
        }
    }
    Ok(Thrown::Some)
}

fn errno(error: &io::Error) -> u32 {
    error.raw_os_error().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}
