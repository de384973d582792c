//! What the system has told and nobody has looked at yet. It takes no more memory than it may: when there is too much, it is
//! only known that something has been missed.

use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventHandler, EventKind};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// As many as the kernel keeps; see inotify(7), max_queued_events.
const MOST: usize = 16_384;

pub(super) type Told = notify::Result<Event>;

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Told(Told),
    /// There was more than may be kept. All of it is forgotten.
    Overflow,
    /// Nothing has come in time.
    Nothing,
    /// Nothing will ever come.
    End,
}

/// The end that looks.
#[derive(Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

/// The end that is told.
#[derive(Debug)]
pub(super) struct Teller(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct State {
    told: VecDeque<Told>,
    overflowed: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Its other end, of which there may be one.
    pub(super) fn teller(&self) -> Teller {
        Teller(Arc::clone(&self.0))
    }

    /// Waits for what comes next, until a time if there is one.
    pub(super) fn next(&self, until: Option<Instant>) -> Next {
        let mut state = self.0.lock();
        loop {
            if std::mem::take(&mut state.overflowed) {
                return Next::Overflow;
            }
            match (state.told.pop_front(), state.ended) {
                (Some(told), _) => return Next::Told(told),
                (None, true) => return Next::End,
                (None, false) => {}
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.0.came.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(time) if time.is_zero() => return Next::Nothing,
                Some(time) => self.0.came.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Teller {
    fn tell(&self, told: Told) {
        let mut state = self.0.lock();
        if state.told.len() >= MOST {
            state.told = VecDeque::new();
            state.overflowed = true;
        } else {
            state.told.push_back(told);
        }
        self.0.came.notify_one();
    }
}

impl EventHandler for Teller {
    fn handle_event(&mut self, told: Told) {
        // That a file was read is no change, and both ends of a move are told each by itself.
        let changes = |event: &Event| {
            let both = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
            event.need_rescan() || !(matches!(event.kind, EventKind::Access(_)) || event.kind == both)
        };
        if told.as_ref().map_or(true, changes) {
            self.tell(told);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.came.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Next, Queue};
    use notify::event::{AccessKind, CreateKind};
    use notify::{Event, EventHandler, EventKind};
    use std::time::{Duration, Instant};

    fn made() -> Event {
        Event::new(EventKind::Create(CreateKind::File))
    }

    #[test]
    fn what_is_told_comes_in_order_until_the_end() {
        let queue = Queue::default();
        let mut teller = queue.teller();
        assert!(matches!(queue.next(Some(Instant::now())), Next::Nothing));
        teller.handle_event(Ok(made().add_path("a".into())));
        teller.handle_event(Ok(Event::new(EventKind::Access(AccessKind::Read)).add_path("b".into())));
        teller.handle_event(Err(notify::Error::generic("c")));
        drop(teller);
        assert!(
            matches!(queue.next(None), Next::Told(Ok(event)) if event.paths == ["a".to_owned()].map(Into::<std::path::PathBuf>::into))
        );
        assert!(matches!(queue.next(None), Next::Told(Err(_))), "a read is no change");
        assert!(matches!(queue.next(None), Next::End));
    }

    #[test]
    fn too_much_is_forgotten_and_said_once() {
        let queue = Queue::default();
        let mut teller = queue.teller();
        (0..=MOST).for_each(|_| teller.handle_event(Ok(made())));
        assert!(queue.0.lock().told.is_empty());
        teller.handle_event(Ok(made()));
        assert!(matches!(queue.next(None), Next::Overflow));
        assert!(matches!(queue.next(None), Next::Told(_)));
        assert!(matches!(queue.next(Some(Instant::now())), Next::Nothing));
    }

    #[test]
    fn one_who_waits_is_woken() {
        let queue = Queue::default();
        let mut teller = queue.teller();
        std::thread::scope(|scope| {
            scope.spawn(move || teller.handle_event(Ok(made())));
            assert!(matches!(queue.next(Some(Instant::now() + Duration::from_secs(60))), Next::Told(_)));
        });
        assert!(matches!(queue.next(None), Next::End));
    }
}
