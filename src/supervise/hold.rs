//! Connections that no child has at the moment: accepted ones and those that a child gave back, in order, counted by
//! listener, bounded.
//!
//! Pure: what a connection is, is the caller's.

use std::collections::VecDeque;

/// The most state that is held before givers have to wait, in bytes.
const MOST_STATE: usize = 64 * 1024 * 1024;

/// A held connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// The index of its listener.
    pub listener: u16,
    /// What the child that gave it back left for the next one; none if it was never given back.
    pub state: Option<Vec<u8>>,
    /// The connection.
    pub connection: T,
}

/// Held connections.
#[derive(Debug)]
pub struct Hold<T> {
    queue: VecDeque<Held<T>>,
    /// How many at the front were put back and are to be followed by what is put back after them.
    put_back: usize,
    /// Given back by the child that still serves: not for it, so not in the queue before another one serves.
    kept: Vec<Held<T>>,
    /// How many in the queue came from each listener.
    queued: Vec<usize>,
    limit: usize,
    /// How many may be kept.
    most_kept: usize,
    /// Of all that is held.
    state_bytes: usize,
}

impl<T> Hold<T> {
    /// Holds at most `limit` for each of so many listeners.
    pub fn new(listeners: usize, limit: usize) -> Self {
        let (queue, kept, queued) = (VecDeque::new(), Vec::new(), vec![0; listeners]);
        Hold { queue, put_back: 0, kept, queued, limit, most_kept: limit, state_bytes: 0 }
    }

    /// Keeps at most so many, of all listeners together, and no more than the limit.
    pub fn keeping(self, most: usize) -> Self {
        Hold { most_kept: most.min(self.limit), ..self }
    }

    /// Whether no more is to be accepted from this listener. What is kept is not counted: nobody takes it as long as
    /// nothing changes, and the child that serves goes on serving new clients.
    pub fn is_full(&self, listener: u16) -> bool {
        self.queued(listener) >= self.limit
    }

    /// Whether another connection with its state may be taken in. While not, its giver has to wait.
    pub fn has_room_for_state(&self) -> bool {
        self.state_bytes < MOST_STATE
    }

    /// Whether another one may be kept. While not, the serving child has to wait: what is kept takes descriptors that
    /// its new clients need.
    pub fn has_room_to_keep(&self) -> bool {
        self.kept.len() < self.most_kept
    }

    /// How many came from this listener.
    pub fn held(&self, listener: u16) -> usize {
        self.queued(listener) + self.kept.iter().filter(|held| held.listener == listener).count()
    }

    fn queued(&self, listener: u16) -> usize {
        self.queued.get(usize::from(listener)).copied().unwrap_or(0)
    }

    /// Whether there is none to be passed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many there are, the kept ones included.
    pub fn len(&self) -> usize {
        self.queue.len() + self.kept.len()
    }

    /// A connection that has just been accepted: it comes last.
    pub fn push(&mut self, listener: u16, connection: T) {
        self.enqueue(Held { listener, state: None, connection });
    }

    /// A connection that a child gave back, for whoever serves: it comes last. It is taken in even when that exceeds
    /// the limit.
    pub fn give_back(&mut self, held: Held<T>) {
        self.state_bytes += bytes(&held);
        self.enqueue(held);
    }

    /// A connection that the serving child gave back, for whoever serves after it.
    pub fn keep(&mut self, held: Held<T>) {
        self.state_bytes += bytes(&held);
        self.kept.push(held);
    }

    /// Another child serves: what was kept comes last, in the order in which it was given back.
    pub fn admit_kept(&mut self) {
        for held in std::mem::take(&mut self.kept) {
            self.enqueue(held);
        }
    }

    fn enqueue(&mut self, held: Held<T>) {
        self.count(held.listener, 1);
        self.queue.push_back(held);
    }

    /// What is put back from now on comes from another child, and so before all others.
    pub fn begin_putting_back(&mut self) {
        self.put_back = 0;
    }

    /// Connections that were taken back, oldest first: they come before all others, since they came to the queue
    /// earlier, but after what was put back before. They are taken in even when that exceeds the limit; nothing is ever
    /// thrown away here.
    pub fn put_back(&mut self, connections: Vec<Held<T>>) {
        let mut after = self.queue.split_off(self.put_back.min(self.queue.len()));
        for held in connections {
            self.state_bytes += bytes(&held);
            self.enqueue(held);
        }
        self.put_back = self.queue.len();
        self.queue.append(&mut after);
    }

    /// The next ones, oldest first.
    pub fn next(&self) -> impl Iterator<Item = &Held<T>> {
        self.queue.iter()
    }

    /// Lets the next `count` go.
    pub fn release(&mut self, count: usize) -> impl Iterator<Item = Held<T>> {
        let count = count.min(self.queue.len());
        self.put_back = self.put_back.saturating_sub(count);
        for index in 0..count {
            let held = &self.queue[index];
            let (listener, bytes) = (held.listener, bytes(held));
            self.state_bytes -= bytes;
            self.count(listener, -1);
        }
        self.queue.drain(..count)
    }

    fn count(&mut self, listener: u16, by: isize) {
        if let Some(queued) = self.queued.get_mut(usize::from(listener)) {
            *queued = queued.saturating_add_signed(by);
        }
    }
}

fn bytes<T>(held: &Held<T>) -> usize {
    held.state.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::{Held, Hold, MOST_STATE};

    fn all(hold: &Hold<u32>) -> Vec<u32> {
        hold.next().map(|held| held.connection).collect()
    }

    fn plain(listener: u16, connection: u32) -> Held<u32> {
        Held { listener, state: None, connection }
    }

    fn given(connection: u32, state: &[u8]) -> Held<u32> {
        Held { listener: 0, state: Some(state.to_vec()), connection }
    }

    #[test]
    fn the_order_is_that_of_acceptance_also_for_what_was_taken_back() {
        let mut hold = Hold::new(2, 10);
        hold.push(0, 1);
        hold.push(1, 2);
        hold.push(0, 3);
        let passed: Vec<_> = hold.release(2).collect();
        assert_eq!(passed, [plain(0, 1), plain(1, 2)]);
        hold.push(1, 4);
        hold.put_back(passed);
        assert_eq!(all(&hold), [1, 2, 3, 4]);
        assert_eq!((hold.held(0), hold.held(1), hold.len()), (2, 2, 4));
    }

    #[test]
    fn what_is_put_back_in_parts_keeps_its_order_too() {
        let mut hold = Hold::new(1, 10);
        hold.push(0, 9);
        hold.begin_putting_back();
        hold.put_back(vec![plain(0, 4), plain(0, 5)]);
        hold.put_back(vec![plain(0, 6)]);
        assert_eq!(hold.release(1).collect::<Vec<_>>(), [plain(0, 4)]);
        hold.put_back(vec![plain(0, 7)]);
        hold.begin_putting_back();
        hold.put_back(vec![plain(0, 3)]);
        assert_eq!(all(&hold), [3, 5, 6, 7, 9]);
    }

    #[test]
    fn the_limit_is_each_listeners_own_and_refuses_nothing_that_was_taken_back() {
        let mut hold = Hold::new(2, 2);
        hold.push(0, 1);
        hold.push(0, 2);
        assert!(hold.is_full(0) && !hold.is_full(1));
        hold.put_back(vec![plain(0, 0)]);
        assert_eq!(all(&hold), [0, 1, 2]);
        assert!(hold.is_full(0));
        assert_eq!(hold.release(9).count(), 3);
        assert!(hold.is_empty() && !hold.is_full(0));
    }

    #[test]
    fn what_is_given_back_joins_the_end_with_its_state_and_keeps_both_when_it_is_taken_back() {
        let mut hold = Hold::new(1, 10);
        hold.push(0, 1);
        hold.give_back(given(2, b"two"));
        hold.push(0, 3);
        assert_eq!(all(&hold), [1, 2, 3]);
        let passed: Vec<_> = hold.release(2).collect();
        assert_eq!(passed, [plain(0, 1), given(2, b"two")]);
        hold.put_back(passed);
        hold.give_back(given(4, b""));
        let held: Vec<_> = hold.release(9).collect();
        assert_eq!(held, [plain(0, 1), given(2, b"two"), plain(0, 3), given(4, b"")]);
    }

    #[test]
    fn what_the_serving_child_gave_back_waits_for_the_next_and_is_in_nobodys_way() {
        let mut hold = Hold::new(1, 2);
        for connection in 1..5 {
            hold.keep(given(connection, b""));
        }
        assert!(hold.is_empty() && !hold.is_full(0));
        assert_eq!((hold.len(), hold.held(0)), (4, 4));
        hold.push(0, 5);
        hold.admit_kept();
        assert_eq!(all(&hold), [5, 1, 2, 3, 4]);
        assert!(hold.is_full(0));
        assert_eq!((hold.len(), hold.held(0)), (5, 5));
    }

    #[test]
    fn what_is_kept_is_bounded_too() {
        for (limit, most) in [(10, 2), (2, 10)] {
            let mut hold = Hold::new(1, limit).keeping(most);
            hold.give_back(given(1, b""));
            hold.push(0, 2);
            assert!(hold.has_room_to_keep(), "what is in the queue is not kept");
            hold.keep(given(3, b""));
            assert!(hold.has_room_to_keep());
            hold.keep(given(4, b""));
            assert!(!hold.has_room_to_keep());
            hold.admit_kept();
            assert!(hold.has_room_to_keep());
        }
    }

    #[test]
    fn the_state_of_all_that_is_held_is_bounded() {
        let mut hold = Hold::new(1, 10);
        let most = vec![0; 65_536];
        for connection in 0..(MOST_STATE / most.len()) as u32 {
            assert!(hold.has_room_for_state());
            match connection % 2 {
                0 => hold.give_back(given(connection, &most)),
                _ => hold.keep(given(connection, &most)),
            }
        }
        assert!(!hold.has_room_for_state());
        let passed: Vec<_> = hold.release(1).collect();
        assert!(hold.has_room_for_state());
        hold.put_back(passed);
        assert!(!hold.has_room_for_state(), "what is taken back counts too");
        hold.admit_kept();
        assert!(!hold.has_room_for_state());
        assert_eq!(hold.release(usize::MAX).count(), MOST_STATE / most.len());
        assert_eq!(hold.state_bytes, 0);
    }

    #[test]
    fn a_listener_that_does_not_exist_harms_nobody() {
        let mut hold = Hold::new(1, 1);
        hold.give_back(Held { listener: 7, ..given(1, b"x") });
        assert!(!hold.is_full(7) && !hold.is_full(0));
        assert_eq!(hold.release(1).next().map(|held| held.listener), Some(7));
    }
}
