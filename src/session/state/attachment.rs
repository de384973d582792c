//! One client's connection to a session: how far it has come, and what it is owed beside the output.

use super::{Action, Connection, Farewell, Session};
use crate::session::frame::Detached;
use std::time::Instant;

/// As what somebody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The client whose session it is.
    Client,
    /// Sees the output.
    Observer,
    /// Sends input.
    Writer,
}

/// By which numbers somebody sends input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// DATA: its own.
    Own,
    /// APPEND: those of all.
    All,
}

/// Frames that are due. Each kind is there at most once, so a client that says much and reads nothing costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Owed {
    /// How far the other end's stream has arrived: the input of who sends some; for an observer that of the client's output.
    pub(super) ack: bool,
    pub(super) destination: bool,
    pub(super) gap: Option<(u64, u64)>,
    pub(super) end: bool,
    pub(super) ping: bool,
    pub(super) pong: Option<[u8; 8]>,
    pub(super) go_away: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct Attachment {
    pub(super) connection: Connection,
    pub(super) role: Role,
    /// Where its output began, and where it goes on.
    pub(super) start: u64,
    pub(super) next: u64,
    /// Up to where output may be sent.
    pub(super) granted: u64,
    /// The first event that it has not been told.
    pub(super) event: u64,
    /// Where the input was when it came: all before is what others have sent, or itself over another connection.
    pub(super) input_began: u64,
    /// Where its own input has come to. It counts from there by what this connection sends, whatever others do.
    pub(super) input_next: u64,
    /// How it has numbered what it has sent: both ways of one connection would contradict each other.
    pub(super) input_numbers: Option<Numbers>,
    /// It has ended the input.
    pub(super) input_ended: bool,
    /// How far the input of all was beyond its own when it was told last; `None`: it was not told what it has to know.
    pub(super) input_told: Option<u64>,
    /// Up to where it may send input, as far as it knows.
    pub(super) input_granted: u64,
    pub(super) owed: Owed,
    /// The driver knows that there is something to send.
    pub(super) called: bool,
    pub(super) heard: Instant,
    /// PINGs since then.
    pub(super) pings: u32,
}

impl Attachment {
    pub(super) fn sees_output(&self) -> bool {
        match self.role {
            Role::Client | Role::Observer => true,
            Role::Writer => false,
        }
    }

    pub(super) fn sends_input(&self) -> bool {
        match self.role {
            Role::Client | Role::Writer => true,
            Role::Observer => false,
        }
    }

    /// The driver is told that there is something to send, once until it fetches.
    pub(super) fn call(&mut self, actions: &mut Vec<Action>) {
        if !self.called {
            self.called = true;
            actions.push(Action::Send(self.connection));
        }
    }
}

impl Session {
    pub(super) fn attachment(&self, now: Instant, connection: Connection, role: Role, next: u64) -> Attachment {
        let owed = Owed { ack: true, end: self.end.is_some(), ..Owed::default() };
        Attachment {
            connection,
            role,
            start: next,
            next,
            granted: next.saturating_add(self.policy.window.into()),
            event: 0,
            input_began: self.input.next(),
            input_next: self.input.next(),
            input_numbers: None,
            input_ended: false,
            input_told: (self.from_writers == 0).then_some(0),
            input_granted: self.input.next() + self.input_room() as u64,
            owed,
            called: true,
            heard: now,
            pings: 0,
        }
    }

    pub(super) fn client_attachment(&self) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.role == Role::Client)
    }

    pub(super) fn attachment_of(&mut self, connection: Connection) -> Option<&mut Attachment> {
        self.attachments.iter_mut().find(|attachment| attachment.connection == connection)
    }

    /// Changes what everybody is owed, and calls for its sending.
    pub(super) fn for_all(&mut self, actions: &mut Vec<Action>, change: impl Fn(&mut Attachment)) {
        for attachment in &mut self.attachments {
            change(attachment);
            attachment.call(actions);
        }
    }

    pub(super) fn left(&mut self, now: Instant, connection: Connection) {
        let before = self.attachments.len();
        self.attachments.retain(|attachment| attachment.connection != connection);
        if self.attachments.len() < before {
            self.alone_since = now;
        }
    }

    /// This client is told why, and is not heard any more. The session goes on.
    pub(super) fn dismiss(
        &mut self,
        now: Instant,
        connection: Connection,
        reason: Detached,
        actions: &mut Vec<Action>,
    ) {
        if self.attachment_of(connection).is_some() {
            self.left(now, connection);
            actions.push(Action::Dismiss(connection, Farewell::Detached(reason)));
        }
    }

    pub(super) fn dismiss_all(&mut self, now: Instant, farewell: Farewell, actions: &mut Vec<Action>) {
        for attachment in std::mem::take(&mut self.attachments) {
            self.alone_since = now;
            actions.push(Action::Dismiss(attachment.connection, farewell));
        }
    }
}
