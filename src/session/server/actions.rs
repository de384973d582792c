//! Performs what the table of sessions decides, in its order.

use super::link::Shutdown;
use super::{Server, short};
use crate::session::credential::SessionId;
use crate::session::frame::Command;
use crate::session::state::Action;
use log::{info, trace};

impl Server {
    /// Performs what is to be done, and what comes of that after it.
    pub(super) fn settle(&mut self) {
        while !self.actions.is_empty() {
            let mut actions = std::mem::take(&mut self.actions);
            for (id, action) in actions.drain(..) {
                trace!("session {}: {action:?}", short(id));
                self.act(id, action);
            }
            // Its room is of use again.
            if self.actions.is_empty() {
                self.actions = actions;
                return;
            }
        }
    }

    fn act(&mut self, id: SessionId, action: Action) {
        match action {
            Action::Connect => self.connect(id),
            // There is no room then, which is asked for before each read.
            Action::StopReading => {}
            Action::ReadOn => self.read_link(id),
            Action::Write => self.write_link(id),
            Action::Shutdown => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.shutdown = Shutdown::Due;
                }
                self.write_link(id);
            }
            Action::Break => self.break_off(id),
            Action::Release => self.release(id),
            Action::Send(connection) => self.send_to(connection),
            Action::Dismiss(connection, farewell) => self.dismiss(connection, farewell),
            Action::Resize { columns, rows } => {
                if let Some(link) = self.links.get_mut(&id).filter(|link| link.shutdown == Shutdown::No) {
                    link.telnet.resize(columns, rows, link.out.bytes());
                }
                self.write_link(id);
            }
            Action::Command(command) => self.command(id, command),
            Action::End(reason) => {
                info!("session {} is over: {reason:?}", short(id));
                self.forget_link(id);
            }
        }
    }

    fn command(&mut self, id: SessionId, command: Command) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.shutdown == Shutdown::No) {
            link.telnet.command(command, link.out.bytes());
        }
        self.write_link(id);
    }
}
