//! Coming to a session: HELLO, NEW or RESUME, and what the server says to that. Pure.

use super::arriving::Course;
use super::{Attached, Breach, Client, Event, FURTHEST, Link, Next, Output, Owed, PATIENCE, Terms, Ticket};
use crate::session::credential::{Mac, Nonce, Secret, Transcript, wipe};
use crate::session::frame::encode_preface;
use crate::session::frame::{Accept, Frame, Hello, MAX_DATA, MAX_PAYLOAD, Mode, New, OLDEST, Refusal, Resume, VERSION};
use std::time::{Duration, Instant};

/// A server does not send anybody away for longer, in seconds.
const MOST_PATIENCE: u32 = 3600;

impl Client {
    /// There is a connection to a server. The nonce is for this connection alone, from the system's random numbers.
    pub fn connected(&mut self, now: Instant, nonce: Nonce) {
        self.first.clear();
        encode_preface(&mut self.first);
        self.link = Link::Greeting { nonce, until: now + PATIENCE };
        self.next = Next::Connected;
    }

    pub(super) fn greeted<'a>(&mut self, now: Instant, frame: Frame<'a>) -> Result<Option<Event<'a>>, Breach> {
        let Link::Greeting { nonce, until } = self.link else {
            return Err(Breach::Order);
        };
        match frame {
            Frame::Hello(hello) => {
                let terms = terms(&hello)?;
                let said = Transcript { version: hello.version, boot: hello.boot, server: hello.nonce, client: nonce };
                self.say(&said);
                let resumes = self.ticket.is_some();
                self.link = Link::Coming { said, terms, until, resumes };
                Ok(None)
            }
            Frame::Reject(refusal) => Ok(self.refused(now, refusal)),
            _ => Err(Breach::Order),
        }
    }

    /// NEW, or RESUME.
    fn say(&mut self, said: &Transcript) {
        let mode = self.settings.mode;
        let next = if self.wishes.oldest { OLDEST } else { self.output.done };
        let frame = match &self.ticket {
            None => Frame::New(New { nonce: said.client, ttl: self.settings.ttl }),
            Some(Ticket { id, secret, boot }) => {
                let mac = secret.key().resume(said, *id, next, mode.code());
                Frame::Resume(Resume { id: *id, boot_seen: *boot, nonce: said.client, next, mode, mac })
            }
        };
        if matches!(mode, Mode::Steal | Mode::Refuse) {
            self.asked += 1;
        }
        frame.encode(&mut self.first);
    }

    pub(super) fn answered<'a>(&mut self, now: Instant, frame: Frame<'a>) -> Result<Option<Event<'a>>, Breach> {
        match frame {
            Frame::Accept(accept) => self.accepted(now, accept).map(Some),
            Frame::Reject(refusal) => Ok(self.refused(now, refusal)),
            _ => Err(Breach::Order),
        }
    }

    fn accepted<'a>(&mut self, now: Instant, mut accept: Accept) -> Result<Event<'a>, Breach> {
        let Link::Coming { said, terms, resumes, .. } = &self.link else {
            return Err(Breach::Order);
        };
        let (said, terms, resumes) = (said.clone(), *terms, *resumes);
        // Room for all of it, so that no copy of a secret stays behind.
        let mut proved = Vec::with_capacity(256);
        accept.proved(&mut proved);
        let secret = accept.secret.take();
        let right = match (&self.ticket, &secret) {
            (Some(ticket), None) => ticket.id == accept.id && ticket.secret.key().accept(&said, &proved) == accept.mac,
            (None, Some(secret)) => secret.key().accept(&said, &proved) == accept.mac,
            (Some(_), Some(_)) | (None, None) => false,
        };
        wipe(&mut proved);
        if !right {
            return Err(Breach::Proof);
        }
        let oldest = self.wishes.oldest;
        let start = self.start(&accept)?;
        if accept.input_next > FURTHEST || accept.input_next < self.input.base() && self.settings.mode != Mode::Observe
        {
            return Err(Breach::Offset);
        }
        self.input.rewind();
        let confirm = self.settle_ticket(&said, &accept, secret);
        let owed = Owed {
            confirm,
            ack: self.output.end_done,
            size: self.wishes.size.is_some(),
            close: self.wishes.close,
            fin: true,
            ..Owed::default()
        };
        self.link = Link::Attached(Attached {
            since: now,
            terms,
            course: Course::Open {
                began: accept.input_next,
                clients: None,
                epoch: accept.epoch,
                ended: accept.input_ended,
            },
            input_granted: None,
            output_granted: start.saturating_add(terms.window.into()),
            oldest,
            announced: (accept.output_next, accept.output_ended),
            acked: self.output.done,
            ack_due: None,
            heard: now,
            pings: 0,
            owed,
        });
        Ok(Event::Attached { new: !resumes, destination: accept.destination })
    }

    /// Where the output begins.
    fn start(&mut self, accept: &Accept) -> Result<u64, Breach> {
        if self.settings.mode == Mode::Input {
            return Ok(accept.output_next);
        }
        if self.wishes.oldest {
            self.wishes.oldest = false;
            let base = accept.output_base;
            self.output = Output { next: base, done: base, ..Output::default() };
            return Ok(base);
        }
        // What was had once is the server's to know.
        if accept.output_next < self.output.next { Err(Breach::Offset) } else { Ok(self.output.done) }
    }

    /// The proof that the secret of a new session has arrived is made now, and sent when the ticket is kept.
    fn settle_ticket(&mut self, said: &Transcript, accept: &Accept, secret: Option<Secret>) -> Option<Mac> {
        match secret {
            Some(secret) => {
                let confirm = secret.key().confirm(said, accept.id);
                self.ticket = Some(Ticket { id: accept.id, secret, boot: said.boot });
                (self.wishes.kept, self.confirmed) = (false, false);
                Some(confirm)
            }
            None => {
                self.ticket.iter_mut().for_each(|ticket| ticket.boot = said.boot);
                // Resuming shows as well that the secret has arrived.
                self.confirmed = true;
                None
            }
        }
    }

    /// Both ends have arrived, so there is nothing more to come for.
    fn is_complete(&self) -> bool {
        self.output.end_done && self.input.has_end_arrived()
    }

    /// The server has said no.
    fn refused<'a>(&mut self, now: Instant, refusal: Refusal) -> Option<Event<'a>> {
        self.link = Link::None;
        self.next = match refusal {
            // There was an end, and only its last word was lost.
            Refusal::Denied | Refusal::Gone if self.wishes.close || self.is_complete() => Next::Never,
            // It was dropped before anybody knew of it: nothing has come or gone, so another one is as good.
            Refusal::Denied if self.ticket.is_some() && !self.confirmed => {
                (self.ticket, self.epoch, self.asked) = (None, 0, 0);
                self.again(now, Duration::ZERO)
            }
            Refusal::Busy { retry_after } | Refusal::Stopping { retry_after } => {
                self.again(now, Duration::from_secs(retry_after.min(MOST_PATIENCE).into()))
            }
            Refusal::TooSlow => self.again(now, Duration::ZERO),
            Refusal::Version { .. }
            | Refusal::Denied
            | Refusal::Gone
            | Refusal::InUse { .. }
            | Refusal::OutOfRange { .. }
            | Refusal::Malformed
            | Refusal::Other(_) => Next::Asked,
        };
        Some(Event::Refused(refusal))
    }
}

/// What can be worked with.
fn terms(hello: &Hello) -> Result<Terms, Breach> {
    const DATA_OFFSET: usize = MAX_PAYLOAD - MAX_DATA;
    let longest = usize::from(hello.max_payload).saturating_sub(DATA_OFFSET);
    if hello.version != VERSION || longest == 0 {
        return Err(Breach::Hello);
    }
    Ok(Terms { longest, window: hello.window, heartbeat: Duration::from_secs(hello.heartbeat.into()) })
}
