//! Coming to a session: the rules of the modes, the fence, and where the streams go on.

use super::attachment::{Attachment, Role};
use super::{Action, Connection, Farewell, MOST_OBSERVERS, MOST_WRITERS, Session, Stage};
use crate::session::credential::{Mac, SessionId};
use crate::session::frame::{Accept, Detached, Mode, NEVER, OLDEST, Refusal};
use std::time::Instant;

/// When another try may find room, in seconds.
const RETRY: u32 = 1;

impl Session {
    /// Somebody comes who has proved to know the secret. `next`: where the output shall begin.
    ///
    /// Whoever was attached before is fenced off first, so no number in the answer can be overtaken. The answer is
    /// sent before anything is [transmitted](Session::transmit); its proof is the caller's to make.
    pub fn attach(
        &mut self,
        now: Instant,
        (connection, mode): (Connection, Mode),
        next: u64,
        actions: &mut Vec<Action>,
    ) -> Result<Accept, Refusal> {
        if self.stage == Stage::Gone {
            return Err(Refusal::Denied);
        }
        // First whether there is a place: so it can be asked for without taking it, by a place in the output that there is not.
        let role = self.role(now, mode)?;
        let start = match mode {
            Mode::Steal | Mode::Refuse | Mode::Observe => self.start(next)?,
            Mode::Input => self.output.next(),
        };
        if role == Role::Client {
            if let Some(displaced) = self.client() {
                self.left(now, displaced);
                actions.push(Action::Dismiss(displaced, Farewell::Detached(Detached::TakenOver)));
            }
            self.epoch += 1;
        }
        if let Stage::Provisional { .. } = self.stage {
            self.stage = Stage::Active;
            actions.push(Action::Connect);
        }
        let accept = self.accept();
        let mut attachment = self.attachment(now, connection, role, start);
        if role != Role::Writer && next == OLDEST && start > 0 {
            attachment.owed.gap = Some((0, start));
        }
        self.attachments.push(attachment);
        actions.push(Action::Send(connection));
        if role == Role::Client && next != OLDEST {
            self.output.acknowledge(next);
            self.throttle(now, actions);
        }
        Ok(accept)
    }

    /// What whoever comes now is told: the numbers of this moment, without secret or proof, for no session by name.
    pub fn accept(&self) -> Accept {
        let kept = if self.end.is_some() { Some(self.policy.linger) } else { self.policy.ttl };
        Accept {
            id: SessionId([0; 16]),
            epoch: self.epoch,
            input_next: self.input.next(),
            output_base: self.output.base(),
            output_next: self.output.next(),
            destination: self.destination,
            input_ended: self.input_has_end(),
            output_ended: self.end.is_some(),
            expires: kept.map_or(NEVER, |kept| u32::try_from(kept.as_secs()).unwrap_or(NEVER)),
            secret: None,
            mac: Mac([0; 32]),
        }
    }

    fn start(&self, next: u64) -> Result<u64, Refusal> {
        let (base, end) = (self.output.base(), self.output.next());
        match next {
            OLDEST => Ok(base),
            next if (base..=end).contains(&next) => Ok(next),
            _ => Err(Refusal::OutOfRange { base, next: end }),
        }
    }

    fn role(&self, now: Instant, mode: Mode) -> Result<Role, Refusal> {
        let count = |role| self.attachments.iter().filter(|attachment| attachment.role == role).count();
        let full = Refusal::Busy { retry_after: RETRY };
        match mode {
            Mode::Steal => Ok(Role::Client),
            Mode::Refuse => match self.client_attachment() {
                Some(attached) => Err(Refusal::InUse { idle: silence(attached, now) }),
                None => Ok(Role::Client),
            },
            Mode::Observe if count(Role::Observer) >= MOST_OBSERVERS => Err(full),
            Mode::Observe => Ok(Role::Observer),
            Mode::Input if count(Role::Writer) >= MOST_WRITERS => Err(full),
            Mode::Input => Ok(Role::Writer),
        }
    }

    /// The creator has its secret: the session is to stay.
    pub(super) fn confirmed(&mut self, now: Instant, connection: Connection, actions: &mut Vec<Action>) {
        let Some(attachment) = self.attachment_of(connection) else {
            return;
        };
        attachment.heard = now;
        if let Stage::Provisional { .. } = self.stage {
            self.stage = Stage::Active;
            actions.push(Action::Connect);
        }
    }
}

fn silence(attached: &Attachment, now: Instant) -> u32 {
    let silence = now.saturating_duration_since(attached.heard).as_secs();
    u32::try_from(silence).unwrap_or(u32::MAX)
}
