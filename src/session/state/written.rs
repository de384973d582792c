//! A session as it goes to the process that takes over. Its policy does not go along: that is the new process' own, but
//! for the time that the client has asked for.

use super::attachment::{Attachment, Numbers, Owed, Role};
use super::events::{Event, Events, MOST as MOST_EVENTS};
use super::{Allowance, Connection, End, How, InputState, Policy, Session, Stage};
use super::{MOST_OBSERVERS, MOST_WRITERS};
use crate::session::frame::{Destination, MAX_EVENT};
use crate::session::replay::Replay;
use crate::session::written::{Form, FormError, Reader, Writer, form_of_enum, form_of_struct};
use std::collections::VecDeque;
use std::time::Instant;

form_of_enum!(Stage { 1 => Provisional { until }, 2 => Active, 3 => Gone });
form_of_enum!(How { 1 => Eof, 2 => Reset(errno), 3 => Failed(destination) });
form_of_enum!(InputState { 1 => Open, 2 => Ending { reset }, 3 => Ended, 4 => Dead { ended, written } });
form_of_enum!(Numbers { 1 => Own, 2 => All });
form_of_enum!(Role { 1 => Client, 2 => Observer, 3 => Writer });
form_of_enum!(Destination {
    1 => Connecting,
    2 => Open,
    3 => Eof,
    4 => Reset,
    5 => Refused,
    6 => Timeout,
    7 => Unresolved,
});
form_of_struct!(End { how, since, arrived });
form_of_struct!(Event { serial, offset, kind, body });
form_of_struct!(Owed { ack, destination, gap, end, ping, pong, go_away });
form_of_struct!(Attachment {
    connection,
    role,
    start,
    next,
    granted,
    event,
    input_began,
    input_next,
    input_numbers,
    input_ended,
    input_told,
    input_granted,
    owed,
    called,
    heard,
    pings,
});

impl Form for Connection {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        u64::read(from).map(Connection)
    }
}

impl Form for Box<[u8]> {
    fn write(&self, to: &mut Writer) {
        to.put_counted((self, &[]));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        from.take_counted().map(Box::from)
    }
}

impl Form for Events {
    fn write(&self, to: &mut Writer) {
        let Events { list, next } = self;
        list.len().write(to);
        list.iter().for_each(|event| event.write(to));
        next.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, FormError> {
        let count = usize::read(from)?;
        if count > MOST_EVENTS {
            return Err(FormError::Value { what: "how many events there are", value: count as u64 });
        }
        let list = (0..count).map(|_| Event::read(from)).collect::<Result<VecDeque<_>, FormError>>()?;
        let next = u64::read(from)?;
        let mut pairs = list.iter().zip(list.iter().skip(1));
        let in_order = pairs.all(|(one, next)| one.serial < next.serial && one.offset <= next.offset);
        let fit = list.iter().all(|event| event.serial < next && event.body.len() <= MAX_EVENT);
        if in_order && fit { Ok(Events { list, next }) } else { Err(FormError::Unfit("a session's events")) }
    }
}

fn read_attachments(from: &mut Reader<'_>) -> Result<Vec<Attachment>, FormError> {
    let count = usize::read(from)?;
    if count > 1 + MOST_OBSERVERS + MOST_WRITERS {
        return Err(FormError::Value { what: "how many are attached", value: count as u64 });
    }
    (0..count).map(|_| Attachment::read(from)).collect()
}

impl Session {
    /// Writes all of it, but for its policy.
    pub fn write(&self, to: &mut Writer) {
        let Session {
            policy: Policy { ttl, .. },
            allowance: _,
            stage,
            epoch,
            destination,
            input,
            from_writers,
            input_state,
            output,
            end,
            events,
            attachments,
            alone_since,
            blocked_since,
            blocked,
        } = self;
        ttl.write(to);
        stage.write(to);
        epoch.write(to);
        destination.write(to);
        input.write(to);
        from_writers.write(to);
        input_state.write(to);
        output.write(to);
        end.write(to);
        events.write(to);
        attachments.len().write(to);
        attachments.iter().for_each(|attachment| attachment.write(to));
        alone_since.write(to);
        blocked_since.write(to);
        blocked.write(to);
    }

    /// Reads one that [`Session::write`] has written, with the policy that it is to have, and what it may have now.
    ///
    /// # Errors
    /// It is none, or no session is ever so.
    pub fn read(from: &mut Reader<'_>, policy: &Policy, allowance: Allowance) -> Result<Self, FormError> {
        let policy = Policy { ttl: Form::read(from)?, ..policy.clone() };
        let session = Session {
            policy,
            allowance,
            stage: Form::read(from)?,
            epoch: Form::read(from)?,
            destination: Form::read(from)?,
            input: Form::read(from)?,
            from_writers: Form::read(from)?,
            input_state: Form::read(from)?,
            output: Replay::read(from)?,
            end: Form::read(from)?,
            events: Form::read(from)?,
            attachments: read_attachments(from)?,
            alone_since: Instant::read(from)?,
            blocked_since: Form::read(from)?,
            blocked: Form::read(from)?,
        };
        session.check().map(|()| session)
    }

    /// Everybody who is attached to it.
    pub fn connections(&self) -> impl Iterator<Item = Connection> {
        self.attachments.iter().map(|attachment| attachment.connection)
    }

    /// What holds for every session that there is.
    fn check(&self) -> Result<(), FormError> {
        let all = &self.attachments;
        let count = |role| all.iter().filter(|attachment| attachment.role == role).count();
        let mut connections = self.connections().collect::<Vec<_>>();
        connections.sort();
        connections.dedup();
        if self.stage == Stage::Gone {
            return Err(FormError::Unfit("a session that is over"));
        }
        if count(Role::Client) > 1
            || count(Role::Observer) > MOST_OBSERVERS
            || count(Role::Writer) > MOST_WRITERS
            || connections.len() < all.len()
        {
            return Err(FormError::Unfit("who is attached to a session"));
        }
        let beyond = |attachment: &Attachment| {
            attachment.next > self.output.next() || attachment.start > attachment.next || attachment.pings > MOST_PINGS
        };
        let sent_too_much = |attachment: &Attachment| attachment.input_next > self.input.next();
        if all.iter().any(beyond) || all.iter().any(sent_too_much) {
            return Err(FormError::Unfit("how far a client of a session has come"));
        }
        if self.events.list.iter().any(|event| event.offset > self.output.next()) {
            return Err(FormError::Unfit("where a session's events are"));
        }
        Ok(())
    }
}

/// More are never sent in vain.
const MOST_PINGS: u32 = super::time::PINGS;
