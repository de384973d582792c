//! The readers of all sessions that are asked for here: a task for each, which ends when nobody has asked for a while.

use super::handshake::{Handshake, Pair, Want};
use super::reader::{Action, Answer, Item, Manner, Reader, Reason, RequestId};
use super::upstream::{Server, Upstream, UpstreamError};
use crate::session::credential::{Nonce, SessionId, random};
use crate::session::frame::{Mode, encode_preface};
use log::debug;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that wait for a reader to look at them; each of them waits then.
const MAILBOX: usize = 16;
/// Pieces on their way to one who follows.
const PIECES: usize = 2;
/// A reader may end while it is being asked; more than that is no chance.
const TRIES: usize = 4;

/// Finds the reader of a session.
#[derive(Debug)]
pub struct Readers {
    server: Arc<Server>,
    drain: watch::Receiver<bool>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    readers: HashMap<SessionId, Entry>,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    pair: Arc<Pair>,
    number: u64,
    mailbox: mpsc::Sender<Ask>,
}

#[derive(Debug)]
struct Ask {
    from: u64,
    manner: Manner,
    asker: Asker,
}

/// Who gets the answer.
#[derive(Debug)]
enum Asker {
    Polls(oneshot::Sender<Answer>),
    Follows(mpsc::Sender<Item>),
}

impl Readers {
    /// No readers yet. They stop waiting when `drain` says so.
    pub fn new(server: Arc<Server>, drain: watch::Receiver<bool>) -> Readers {
        Readers { server, drain, known: Arc::default() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().readers.len()
    }

    /// Reads once. To drop this is to leave.
    pub async fn poll(&self, pair: &Arc<Pair>, from: u64, until: Instant, events: bool) -> Answer {
        for _ in 0..TRIES {
            let (asker, answer) = oneshot::channel();
            let ask = Ask { from, manner: Manner::Poll { until, events }, asker: Asker::Polls(asker) };
            // If it ended in between, there will be another one.
            if self.mailbox(pair).send(ask).await.is_ok()
                && let Ok(answer) = answer.await
            {
                return answer;
            }
        }
        Answer::Over(Reason::Again)
    }

    /// Reads all that comes, piece by piece, until [`Item::Over`]. To drop what is returned is to leave.
    pub async fn follow(&self, pair: &Arc<Pair>, from: u64) -> mpsc::Receiver<Item> {
        let (asker, pieces) = mpsc::channel(PIECES);
        let ask = Ask { from, manner: Manner::Follow, asker: Asker::Follows(asker) };
        // If it ended in between nothing comes, and whoever follows comes again.
        let _ = self.mailbox(pair).send(ask).await;
        pieces
    }

    /// The session's reader, a new one if there is none. One who brings another secret never gets to what was opened by
    /// the right one: the server will tell him what it thinks of that.
    fn mailbox(&self, pair: &Arc<Pair>) -> mpsc::Sender<Ask> {
        let mut known = self.lock();
        let there = known.readers.get(&pair.id);
        if let Some(entry) = there
            && entry.pair == *pair
            && !entry.mailbox.is_closed()
        {
            return entry.mailbox.clone();
        }
        let foreign = there.is_some_and(|entry| !entry.mailbox.is_closed());
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        known.last += 1;
        let number = known.last;
        if !foreign {
            known.readers.insert(pair.id, Entry { pair: Arc::clone(pair), number, mailbox: sender.clone() });
        }
        let task = Task {
            pair: Arc::clone(pair),
            server: Arc::clone(&self.server),
            known: Arc::clone(&self.known),
            drain: self.drain.clone(),
            number,
            mailbox,
            asker: None,
            asked: 0,
            reader: Reader::new(Instant::now()),
            link: Link::None,
        };
        tokio::spawn(task.run());
        sender
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Upstream, UpstreamError>> + Send>>;

enum Link {
    None,
    Opening { next: u64, future: Opening },
    Open { upstream: Box<Upstream>, handshake: Handshake },
}

/// What happens to a reader.
enum Happens {
    Asked(Option<Ask>),
    Left,
    Room,
    Opened(Result<Upstream, UpstreamError>),
    Received(Result<usize, UpstreamError>),
    Due,
    Drains,
}

/// The driver of one reader.
struct Task {
    pair: Arc<Pair>,
    server: Arc<Server>,
    known: Arc<Mutex<Known>>,
    drain: watch::Receiver<bool>,
    number: u64,
    mailbox: mpsc::Receiver<Ask>,
    asker: Option<(RequestId, Asker)>,
    asked: RequestId,
    reader: Reader,
    link: Link,
}

impl Task {
    async fn run(mut self) {
        let (mut drains, mut alone) = (*self.drain.borrow(), false);
        loop {
            let happens = self.wait(drains, alone).await;
            let now = Instant::now();
            let mut actions = Vec::new();
            match happens {
                Happens::Asked(Some(ask)) => self.asked(now, ask, drains, &mut actions),
                // Nobody can find it any more: it has one to answer still.
                Happens::Asked(None) => alone = true,
                Happens::Left => {
                    let (id, _) = self.asker.take().unwrap_or((0, Asker::Polls(oneshot::channel().0)));
                    self.reader.leave(now, id);
                }
                Happens::Room => self.give(now),
                Happens::Opened(opened) => self.opened(now, opened, &mut actions),
                Happens::Received(received) => self.received(now, received, &mut actions),
                Happens::Due => self.reader.tick(now, &mut actions),
                Happens::Drains => {
                    drains = true;
                    self.reader.close(now, &mut actions);
                }
            }
            self.perform(actions);
            self.transmit();
            let done = self.reader.is_over() && self.mailbox.is_empty();
            if done || (alone && self.asker.is_none()) {
                break;
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.readers.get(&self.pair.id).is_some_and(|entry| entry.number == self.number) {
            known.readers.remove(&self.pair.id);
        }
    }

    async fn wait(&mut self, drains: bool, alone: bool) -> Happens {
        let deadline = self.reader.deadline();
        let due = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let has_piece = self.reader.has_piece(Instant::now());
        tokio::select! {
            ask = self.mailbox.recv(), if !alone => Happens::Asked(ask),
            room = asker(&mut self.asker, has_piece) => if room { Happens::Room } else { Happens::Left },
            happens = link(&mut self.link) => happens,
            () = due => Happens::Due,
            _ = self.drain.wait_for(|drains| *drains), if !drains => Happens::Drains,
        }
    }

    fn asked(&mut self, now: Instant, ask: Ask, drains: bool, actions: &mut Vec<Action>) {
        self.asked += 1;
        let Ask { from, manner, asker } = ask;
        let mut before = Vec::new();
        self.reader.ask(now, self.asked, from, manner, &mut before);
        // Whoever asked before is told first, by the way that he came.
        let (told, rest): (Vec<_>, Vec<_>) = before.into_iter().partition(|action| self.is_for_asker(action));
        self.perform(told);
        self.asker = Some((self.asked, asker));
        actions.extend(rest);
        if drains {
            self.reader.close(now, actions);
        }
    }

    fn is_for_asker(&self, action: &Action) -> bool {
        let asker = self.asker.as_ref().map(|(id, _)| *id);
        matches!(action, Action::Answer(id, _) | Action::Ended(id, _) if Some(*id) == asker)
    }

    fn opened(&mut self, now: Instant, opened: Result<Upstream, UpstreamError>, actions: &mut Vec<Action>) {
        let Link::Opening { next, .. } = self.link else {
            return;
        };
        let begun = opened.and_then(|upstream| Ok((upstream, random()?)));
        match begun {
            Ok((mut upstream, nonce)) => {
                let want = Want::Resume { pair: Arc::clone(&self.pair), mode: Mode::Steal, next };
                encode_preface(&mut upstream.bytes.out);
                self.link = Link::Open { upstream: Box::new(upstream), handshake: Handshake::new(want, Nonce(nonce)) };
            }
            Err(error) => {
                debug!("{}", crate::chain(&error));
                self.reader.lost(now, actions);
            }
        }
    }

    fn received(&mut self, now: Instant, received: Result<usize, UpstreamError>, actions: &mut Vec<Action>) {
        let Link::Open { upstream, handshake } = &mut self.link else {
            return;
        };
        let reader = &mut self.reader;
        let done = received.and_then(|length| {
            upstream.frames(length, |frame, out| {
                if reader.is_attached() {
                    reader.said(now, frame, actions)?;
                } else {
                    reader.greeted(now, (handshake, frame), out, actions)?;
                }
                Ok(reader.is_attached())
            })
        });
        if let Err(error) = done {
            debug!("{}", crate::chain(&error));
            self.reader.lost(now, actions);
        }
        self.reader.settle(now, actions);
    }

    fn give(&mut self, now: Instant) {
        if let Some(item) = self.reader.take(now)
            && let Some((_, Asker::Follows(pieces))) = &self.asker
        {
            let last = matches!(item, Item::Over(_));
            // There is room: it was waited for.
            let _ = pieces.try_send(item);
            if last {
                self.asker = None;
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect(next) => {
                    self.link = Link::Opening { next, future: Box::pin(Arc::clone(&self.server).open()) };
                }
                Action::Disconnect => self.link = Link::None,
                Action::Answer(id, answer) => {
                    if let Some((_, Asker::Polls(asker))) = self.asker.take_if(|(asker, _)| *asker == id) {
                        let _ = asker.send(answer);
                    }
                }
                Action::Ended(id, over) => {
                    if let Some((_, Asker::Follows(pieces))) = self.asker.take_if(|(asker, _)| *asker == id) {
                        // Told when there is room, or never if he has gone.
                        tokio::spawn(async move { pieces.send(Item::Over(over)).await });
                    }
                }
            }
        }
    }

    fn transmit(&mut self) {
        if let Link::Open { upstream, .. } = &mut self.link {
            self.reader.transmit(&mut upstream.bytes.out);
        }
    }
}

/// Whether whoever asked has room for a piece; false when he has gone. Without an asker this never ends.
async fn asker(asker: &mut Option<(RequestId, Asker)>, has_piece: bool) -> bool {
    match asker {
        None => std::future::pending().await,
        Some((_, Asker::Polls(answer))) => {
            answer.closed().await;
            false
        }
        Some((_, Asker::Follows(pieces))) => {
            // The permit is given back at once: nobody else sends.
            tokio::select! {
                () = pieces.closed() => false,
                room = pieces.reserve(), if has_piece => room.is_ok(),
            }
        }
    }
}

async fn link(link: &mut Link) -> Happens {
    match link {
        Link::None => std::future::pending().await,
        Link::Opening { future, .. } => Happens::Opened(future.await),
        Link::Open { upstream, .. } => Happens::Received(upstream.turn().await),
    }
}
