//! What children say by sd_notify(3).

use super::Driver;
use crate::supervise::Source;
use crate::supervise::notify::Received;
use crate::supervise::notify::message::{Message, Store, Watchdog};
use crate::supervise::notify::store::Given;
use crate::supervise::ready_line::{ReadyLine, Said};
use crate::supervise::state::{Input, Number, Word};
use log::{debug, info, warn};
use nix::unistd::Uid;
use socket_protector_client::descriptors::Sender;
use std::time::Duration;

/// How many words are taken in before others have their turn.
const WORDS: usize = 16;

impl Driver {
    pub(super) fn hear_words(&mut self) {
        for _ in 0..WORDS {
            match self.notify.receive() {
                None => return,
                Some(Err(what)) => debug!("a word by sd_notify {what}"),
                Some(Ok(received)) => self.word(received),
            }
        }
        self.reactor.again(Source::Notify);
    }

    fn word(&mut self, received: Received) {
        let sender = received.sender;
        let uid = Uid::from_raw(sender.uid);
        let known = uid.is_root() || uid == Uid::effective();
        let Some(number) = self.generation_of(sender.pid).filter(|_| known) else {
            if self.notify.worth_telling() {
                warn!("a word by sd_notify is left out: process {} is no child of ours", sender.pid);
            }
            return;
        };
        debug!("generation {number} says {:?}", received.message);
        self.store(received.message.store.as_ref(), received.descriptors);
        self.say(number, sender, received.message);
        // A barrier's descriptor has been closed by now, after all that came before it was dealt with.
    }

    fn store(&mut self, word: Option<&Store>, descriptors: Vec<Given>) {
        match word {
            None => {}
            Some(Store::Keep { name, poll }) => self.store.keep(&mut self.reactor, name, *poll, descriptors),
            Some(Store::Remove { name }) => self.store.remove(name),
        }
    }

    fn say(&mut self, number: Number, sender: Sender, message: Message) {
        if message.speaks() {
            // Whoever speaks this way will say by it when it is ready.
            self.input(Input::Spoke(number, Word::Notify));
        }
        if let Some(pid) = message.main_pid {
            self.follow(number, pid, sender);
        }
        if let Some(every) = message.watchdog_time {
            self.input(Input::Watch(number, Some(every).filter(|every| *every > Duration::ZERO)));
        }
        match message.watchdog {
            None => {}
            Some(Watchdog::Alive) => self.input(Input::Alive(number)),
            Some(Watchdog::Trigger) => self.input(Input::Hung(number)),
        }
        if let Some(by) = message.extend {
            self.input(Input::Extend(number, by));
        }
        if (message.reloading || message.stopping) && self.notify.worth_telling() {
            info!("generation {number} says that it {}", if message.stopping { "stops" } else { "reloads" });
        }
        if let Some(worker) = self.workers.get_mut(&number)
            && let Some(status) = message.status
        {
            worker.status = Some(status);
        }
        if message.ready {
            self.input(Input::Ready(number, Word::Notify));
        }
    }

    pub(super) fn read_ready_line(&mut self, number: Number) {
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        match worker.ready.as_mut().map_or(Said::NotYet, ReadyLine::read) {
            Said::NotYet => {}
            Said::Never => worker.ready = None,
            Said::Ready => {
                worker.ready = None;
                self.input(Input::Spoke(number, Word::Descriptor));
                self.input(Input::Ready(number, Word::Descriptor));
            }
        }
    }
}
