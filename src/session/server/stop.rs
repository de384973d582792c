//! Signals, and how a server ends: clients are told, what there is for them and for destinations goes out, within a limit;
//! then the sessions end.

use super::requests::done;
use super::{Done, Key, Server, short};
use crate::process::service;
use crate::session::credential::SessionId;
use crate::session::frame::NEVER;
use crate::session::state::Input;
use crate::takeover::leaving::reap;
use log::{debug, error, info, warn};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Between two looks whether everything is out.
const LOOK: Duration = Duration::from_millis(20);
/// How long clients have to hear that their sessions are over, and destinations to read what they were sent before.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a stop waits for for so long is told, once.
const TELLS: Duration = Duration::from_secs(1);
/// So many sessions are named.
const NAMED: usize = 8;

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// None was asked for.
    No,
    /// What there is goes out, until this time at the latest.
    Draining { until: Instant },
    /// The sessions are over. Clients hear of that, and destinations read what they were sent, until these times at the
    /// latest.
    Ending { clients: Instant, destinations: Instant },
    /// Another process has taken over; who could not go along hears of that, until this time at the latest.
    Left { until: Instant },
    /// All is done.
    Done,
}

impl Server {
    pub(super) fn take_signals(&mut self) {
        let signals = self.signals.pending().collect::<Vec<_>>();
        for signal in signals {
            match signal {
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT if self.has_left() => self.pass_on(signal),
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT if self.stopping != Stopping::No => {
                    info!("{signal}: ending now");
                    self.end_now();
                }
                Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                    info!("{signal}: stopping; clients may have what there is");
                    self.stop();
                }
                Signal::SIGHUP => self.files.look(),
                Signal::SIGUSR1 => match self.logging.reopen() {
                    Ok(()) => info!("the log file was opened afresh"),
                    Err(error) => error!("{}; the former one stays", crate::chain(&error)),
                },
                Signal::SIGUSR2 => match self.upgrade(None) {
                    Ok(()) => info!("{signal}: upgrading"),
                    Err(error) => error!("cannot upgrade: {}", crate::chain(&error)),
                },
                Signal::SIGCHLD if self.has_left() => reap(),
                _ => debug!("{signal} means nothing here"),
            }
        }
    }

    /// Begins to stop, unless that has begun.
    pub(super) fn stop(&mut self) {
        if self.stopping != Stopping::No {
            return;
        }
        let now = Instant::now();
        self.stopping = Stopping::Draining { until: now + self.settings.stop_timeout };
        self.tells = Some(now + TELLS);
        if let Err(error) = service::tell("STOPPING=1") {
            warn!("cannot tell the outer manager: {error}");
        }
        if let Some(grace) = self.grace() {
            self.sessions.on_all(self.clock.now(), Input::GoAway(grace), &mut self.actions);
        }
        self.settle();
        self.go_on_stopping();
    }

    /// For how many seconds clients are still served, once that is limited.
    pub(super) fn grace(&self) -> Option<u32> {
        match self.stopping {
            Stopping::Draining { until } => {
                let left = until.saturating_duration_since(Instant::now());
                Some(u32::try_from(left.as_secs_f64().ceil() as u64).unwrap_or(NEVER))
            }
            Stopping::No | Stopping::Ending { .. } | Stopping::Left { .. } | Stopping::Done => None,
        }
    }

    /// How long destinations have for what they were sent once the server stops: the rest of its time, or a moment behind
    /// that.
    pub(super) fn stop_limit(&self) -> Option<Instant> {
        match self.stopping {
            Stopping::Draining { until } => Some(until.max(Instant::now() + LAST_WORDS)),
            Stopping::Ending { destinations, .. } => Some(destinations),
            Stopping::No | Stopping::Left { .. } | Stopping::Done => None,
        }
    }

    /// Whether another process has taken over.
    pub(super) fn has_left(&self) -> bool {
        matches!(self.stopping, Stopping::Left { .. })
    }

    /// Whether destinations are not read from any more: what they say now could not go out.
    pub(super) fn reads_no_more(&self) -> bool {
        self.stopping != Stopping::No
    }

    pub(super) fn go_on_stopping(&mut self) {
        let now = Instant::now();
        match self.stopping {
            Stopping::Draining { until } => {
                let left = self.sessions.iter().filter(|(_, session)| !session.is_flushed()).count();
                if left > 0 && now < until {
                    self.tell_who_is_waited_for(now, "what has not arrived of");
                    self.reactor.set_deadline(Key::Stop, Some(until.min(now + LOOK)));
                    return;
                }
                if left > 0 {
                    warn!("{left} sessions are ended although not everything has arrived");
                }
                self.end_sessions();
            }
            Stopping::Ending { clients, destinations } => {
                let told = self.clients.values().all(|client| client.told || self.is_unheard(client.stage));
                let sent = self.links.is_empty();
                if (told || now >= clients) && (sent || now >= destinations) {
                    self.stopping = Stopping::Done;
                } else {
                    self.tell_who_is_waited_for(now, "destinations, which have not ended, of");
                    self.reactor.set_deadline(Key::Stop, Some(now + LOOK));
                }
            }
            Stopping::Left { until } => {
                let told = self.served && self.clients.is_empty() && self.control.all_answered();
                // What is left of destinations has a limit of its own.
                let sent = self.links.is_empty();
                if (told || now >= until) && sent && self.bridges.is_empty() {
                    self.stopping = Stopping::Done;
                } else if !sent || (!told && now < until) {
                    self.reactor.set_deadline(Key::Stop, Some(now + LOOK));
                }
            }
            Stopping::No | Stopping::Done => {}
        }
    }

    /// Once the stop has lasted: somebody may wonder why, or want it to end.
    fn tell_who_is_waited_for(&mut self, now: Instant, what: &str) {
        if self.tells.is_none_or(|at| now < at) {
            return;
        }
        let mut ids: Vec<SessionId> = match self.stopping {
            Stopping::Ending { .. } => self.links.keys().copied().collect(),
            _ => self.sessions.iter().filter(|(_, session)| !session.is_flushed()).map(|(id, _)| id).collect(),
        };
        if ids.is_empty() {
            return;
        }
        self.tells = None;
        ids.sort();
        info!("stopping waits for {what} {}; a second signal ends it now", named(&ids));
    }

    /// Whether nobody waits for a word to one that has come so far.
    fn is_unheard(&self, stage: super::client::Stage) -> bool {
        !matches!(stage, super::client::Stage::Attached | super::client::Stage::Leaving)
    }

    fn end_sessions(&mut self) {
        let now = Instant::now();
        let destinations = self.stop_limit().unwrap_or(now);
        self.sessions.on_all(self.clock.now(), Input::Stop, &mut self.actions);
        self.settle();
        for asker in std::mem::take(&mut self.waiting) {
            self.control.reply(&mut self.reactor, asker, &done(&Done::default()));
        }
        self.stopping = Stopping::Ending { clients: now + LAST_WORDS, destinations };
        self.tells = Some(now + TELLS);
        self.go_on_stopping();
    }

    fn end_now(&mut self) {
        self.sessions.on_all(self.clock.now(), Input::Stop, &mut self.actions);
        self.settle();
        for asker in std::mem::take(&mut self.waiting) {
            self.control.reply(&mut self.reactor, asker, &done(&Done::default()));
        }
        self.stopping = Stopping::Done;
    }
}

/// Sessions as they are told of: not more than somebody reads.
fn named(ids: &[SessionId]) -> String {
    let names = ids.iter().take(NAMED).map(|id| short(*id)).collect::<Vec<_>>().join(", ");
    let word = if ids.len() == 1 { "session" } else { "sessions" };
    match ids.len().saturating_sub(NAMED) {
        0 => format!("{word} {names}"),
        more => format!("{word} {names} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::named;
    use crate::session::credential::SessionId;

    #[test]
    fn a_few_sessions_are_named_and_the_others_counted() {
        let ids = |count: u8| (0..count).map(|number| SessionId([number; 16])).collect::<Vec<_>>();
        assert_eq!(named(&ids(1)), "session 00000000");
        assert_eq!(named(&ids(2)), "sessions 00000000, 01010101");
        assert!(named(&ids(8)).ends_with(", 07070707"));
        assert!(named(&ids(11)).ends_with(", 07070707 and 3 more"));
    }
}
