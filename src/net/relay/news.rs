//! What the loops tell the thread that controls them.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use log::error;

use super::ListenerId;
use super::failure::{ClientFailure, DestinationFailure};
use super::room::Shortage;
use crate::net::listener::Address;
use crate::reactor::Waker;

/// How much news may wait to be read. Beyond it, what is only for the log is lost.
const MOST: usize = 4096;

/// Something that the control thread has to know.
#[derive(Debug)]
pub enum News {
    /// The last connection of a watched destination is closed.
    Drained {
        /// The destination's number.
        destination: u64,
    },
    /// A client's connection was closed because its destination could not be reached.
    ConnectFailed {
        /// The destination's number.
        destination: u64,
        /// Who the client was.
        client: Address,
        /// Why; its causes are its sources.
        error: DestinationFailure,
    },
    /// A client's connection was closed because of the client's first words.
    ClientFailed {
        /// Where it came in.
        listener: ListenerId,
        /// Who it was.
        client: Address,
        /// Why; its causes are its sources.
        error: ClientFailure,
    },
    /// A client that was brought by [`Relay::carry`](super::Relay::carry) comes back, since its destination could not be
    /// reached. Nothing was read from it.
    Returned {
        /// Where it came in.
        listener: ListenerId,
        /// Its socket.
        client: OwnedFd,
    },
    /// There is no room for a further connection: no client is accepted until there is.
    Short {
        /// Where clients wait.
        listener: ListenerId,
        /// What there is too little of.
        of: Shortage,
    },
    /// Clients are accepted again.
    Enough {
        /// Where they had waited.
        listener: ListenerId,
    },
    /// A connection has ended. Told only when asked for.
    Ended(Ended),
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Where it came in.
    pub listener: ListenerId,
    /// The number of its destination.
    pub destination: u64,
    /// Who the client was.
    pub client: Address,
    /// How long it lasted.
    pub age: Duration,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// How it ended.
    pub how: How,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Both sides had sent their end of file.
    Finished,
    /// One side was reset, and so was the other.
    Reset,
    /// Nothing went for as long as is allowed.
    TimedOut,
    /// By request.
    Cut,
    /// It never reached its destination, or its client left before it did.
    Unconnected,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            How::Finished => "has finished",
            How::Reset => "was reset",
            How::TimedOut => "was silent too long",
            How::Cut => "was cut",
            How::Unconnected => "was not connected",
        })
    }
}

/// The loops' end.
#[derive(Debug, Clone)]
pub struct NewsSender {
    queue: Sender<News>,
    waiting: Arc<AtomicUsize>,
    waker: Waker,
}

/// The control thread's end.
#[derive(Debug)]
pub struct NewsReceiver {
    queue: Receiver<News>,
    waiting: Arc<AtomicUsize>,
}

/// A way for news; the waker is that of the control thread, which then calls [`NewsReceiver::next`] until there is none.
pub fn news(waker: Waker) -> (NewsSender, NewsReceiver) {
    let (sender, receiver) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (NewsSender { queue: sender, waiting: Arc::clone(&waiting), waker }, NewsReceiver { queue: receiver, waiting })
}

impl NewsSender {
    pub(super) fn tell(&self, news: News) {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst);
        let for_the_log = match news {
            News::ConnectFailed { .. } | News::ClientFailed { .. } | News::Ended(_) => true,
            News::Drained { .. } | News::Returned { .. } | News::Short { .. } | News::Enough { .. } => false,
        };
        if (waiting >= MOST && for_the_log) || self.queue.send(news).is_err() {
            // Nobody reads so much, or nobody at all.
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        if let Err(error) = self.waker.wake() {
            error!("cannot wake the control thread: {error}");
        }
    }
}

impl NewsReceiver {
    /// The oldest news that was not read yet. Never waits.
    #[allow(clippy::should_implement_trait, reason = "the end is not for ever")]
    pub fn next(&mut self) -> Option<News> {
        let news = self.queue.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientFailure, ListenerId, MOST, News, news};
    use crate::net::listener::Address;
    use crate::reactor::Reactor;

    #[test]
    fn what_is_only_for_the_log_is_bounded_and_nothing_else_is_lost() {
        let mut reactor = Reactor::new().unwrap();
        let (sender, mut receiver) = news(reactor.waker(()).unwrap());
        for _ in 0..MOST + 10 {
            let (listener, error) = (ListenerId(0), ClientFailure::NotTrusted);
            sender.tell(News::ClientFailed { listener, client: Address::Unnamed, error });
        }
        sender.tell(News::Drained { destination: 2 });
        let mut events = Vec::new();
        reactor.wait(&mut events).unwrap();
        assert_eq!(events.len(), 1);
        let all: Vec<_> = std::iter::from_fn(|| receiver.next()).collect();
        assert_eq!(all.len(), MOST + 1);
        assert!(matches!(all[MOST], News::Drained { destination: 2 }));
        sender.tell(News::Drained { destination: 3 });
        assert!(receiver.next().is_some() && receiver.next().is_none());
    }
}
