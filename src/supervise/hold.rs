//! Connections that were accepted and that no child has yet: in order, counted by listener, bounded.
//!
//! Pure: what a connection is, is the caller's.

use std::collections::VecDeque;

/// Held connections, each with the index of its listener.
#[derive(Debug)]
pub struct Hold<T> {
    queue: VecDeque<(u16, T)>,
    /// How many at the front were put back and are to be followed by what is put back after them.
    put_back: usize,
    held: Vec<usize>,
    limit: usize,
}

impl<T> Hold<T> {
    /// Holds at most `limit` for each of so many listeners.
    pub fn new(listeners: usize, limit: usize) -> Self {
        Hold { queue: VecDeque::new(), put_back: 0, held: vec![0; listeners], limit }
    }

    /// Whether no more is to be accepted from this listener.
    pub fn is_full(&self, listener: u16) -> bool {
        self.held(listener) >= self.limit
    }

    /// How many came from this listener.
    pub fn held(&self, listener: u16) -> usize {
        self.held.get(usize::from(listener)).copied().unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// A connection that has just been accepted: it comes last.
    pub fn push(&mut self, listener: u16, connection: T) {
        self.count(listener, 1);
        self.queue.push_back((listener, connection));
    }

    /// What is put back from now on comes from another child, and so before all others.
    pub fn begin_putting_back(&mut self) {
        self.put_back = 0;
    }

    /// Connections that were taken back, oldest first: they come before all others, since they were accepted earlier,
    /// but after what was put back before. They are taken in even when that exceeds the limit; nothing is ever thrown
    /// away here.
    pub fn put_back(&mut self, connections: Vec<(u16, T)>) {
        let mut after = self.queue.split_off(self.put_back.min(self.queue.len()));
        for (listener, connection) in connections {
            self.count(listener, 1);
            self.queue.push_back((listener, connection));
        }
        self.put_back = self.queue.len();
        self.queue.append(&mut after);
    }

    /// The next ones, oldest first.
    pub fn next(&self) -> impl Iterator<Item = (u16, &T)> {
        self.queue.iter().map(|(listener, connection)| (*listener, connection))
    }

    /// Lets the next `count` go.
    pub fn release(&mut self, count: usize) -> impl Iterator<Item = T> {
        let count = count.min(self.queue.len());
        self.put_back = self.put_back.saturating_sub(count);
        for index in 0..count {
            let listener = self.queue[index].0;
            self.count(listener, -1);
        }
        self.queue.drain(..count).map(|(_, connection)| connection)
    }

    fn count(&mut self, listener: u16, by: isize) {
        if let Some(held) = self.held.get_mut(usize::from(listener)) {
            *held = held.saturating_add_signed(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hold;

    fn all(hold: &Hold<u32>) -> Vec<u32> {
        hold.next().map(|(_, connection)| *connection).collect()
    }

    #[test]
    fn the_order_is_that_of_acceptance_also_for_what_was_taken_back() {
        let mut hold = Hold::new(2, 10);
        hold.push(0, 1);
        hold.push(1, 2);
        hold.push(0, 3);
        let passed: Vec<u32> = hold.release(2).collect();
        assert_eq!(passed, [1, 2]);
        hold.push(1, 4);
        hold.put_back(vec![(0, 1), (1, 2)]);
        assert_eq!(all(&hold), [1, 2, 3, 4]);
        assert_eq!((hold.held(0), hold.held(1), hold.len()), (2, 2, 4));
    }

    #[test]
    fn what_is_put_back_in_parts_keeps_its_order_too() {
        let mut hold = Hold::new(1, 10);
        hold.push(0, 9);
        hold.begin_putting_back();
        hold.put_back(vec![(0, 4), (0, 5)]);
        hold.put_back(vec![(0, 6)]);
        assert_eq!(hold.release(1).collect::<Vec<_>>(), [4]);
        hold.put_back(vec![(0, 7)]);
        hold.begin_putting_back();
        hold.put_back(vec![(0, 3)]);
        assert_eq!(all(&hold), [3, 5, 6, 7, 9]);
    }

    #[test]
    fn the_limit_is_each_listeners_own_and_refuses_nothing_that_was_taken_back() {
        let mut hold = Hold::new(2, 2);
        hold.push(0, 1);
        hold.push(0, 2);
        assert!(hold.is_full(0) && !hold.is_full(1));
        hold.put_back(vec![(0, 0)]);
        assert_eq!(all(&hold), [0, 1, 2]);
        assert!(hold.is_full(0));
        assert_eq!(hold.release(9).count(), 3);
        assert!(hold.is_empty() && !hold.is_full(0));
    }
}
