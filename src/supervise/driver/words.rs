//! What children say by sd_notify(3).

use super::Driver;
use crate::supervise::Source;
use crate::supervise::notify::Received;
use crate::supervise::notify::message::{Message, Store, Watchdog};
use crate::supervise::notify::store::Given;
use crate::supervise::ready_line::{ReadyLine, Said};
use crate::supervise::seldom::Seldom;
use crate::supervise::state::{Input, Number, Word};
use log::{debug, info, warn};
use socket_protector_client::descriptors::Sender;
use std::fmt;
use std::time::{Duration, Instant};

/// How many words are taken in before others have their turn.
const WORDS: usize = 16;
/// No more wait in the socket, unless an administrator has wished for it (`max_dgram_qlen`, 10 or 512 as a rule).
const QUEUE: usize = 1024;

impl Driver {
    pub(super) fn hear_words(&mut self) {
        self.hear_up_to(WORDS);
    }

    /// All that was said before now: whoever has ended may have said last what is to come after it.
    pub(super) fn hear_last_words(&mut self) {
        self.hear_up_to(QUEUE);
    }

    fn hear_up_to(&mut self, most: usize) {
        for _ in 0..most {
            // Held connections may have taken every descriptor, and the kernel closes those of a word that find no room.
            // One more is needed to put them where they are kept.
            let held = self.hold.len();
            if held > 0 {
                self.reserve.lend_rest();
            }
            let received = self.notify.receive();
            let all = received.is_none();
            match received {
                None => {}
                Some(Err(what)) => self.leave_out(format_args!("it {what}")),
                Some(Ok(received)) => self.word(received),
            }
            self.reserve.refill();
            if all {
                return;
            }
        }
        self.reactor.again(Source::Notify);
    }

    fn leave_out(&mut self, why: fmt::Arguments<'_>) {
        if let Some(more) = self.left_out.tell(Instant::now()) {
            warn!("a word by sd_notify is left out: {why}{more}");
        }
    }

    fn word(&mut self, received: Received) {
        let sender = received.sender;
        let Some(number) = self.generation_that_speaks(sender.pid, sender.uid) else {
            self.leave_out(format_args!("process {} is no child of ours", sender.pid));
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
        if let Some(worker) = self.workers.get_mut(&number) {
            let tell = |said: bool, told: &mut Seldom, what| {
                if let Some(more) = said.then(|| told.tell(Instant::now())).flatten() {
                    info!("generation {number} says that it {what}{more}");
                }
            };
            tell(message.reloading, &mut worker.reloads_told, "reloads");
            tell(message.stopping, &mut worker.stops_told, "stops");
            worker.status = message.status.or(worker.status.take());
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
