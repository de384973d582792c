//! Who waits for which name, and which is looked up next. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many requests for a name are kept before those that nobody waits for are looked for.
const SWEPT_FROM: usize = 32;

/// Requests by host. A host has some lookups under way, of which none answers a request that came after its start.
#[derive(Debug)]
pub(super) struct Queue<R> {
    hosts: HashMap<Arc<str>, Host<R>>,
    /// Hosts that are waited for and may be looked up, each once.
    ready: VecDeque<Arc<str>>,
    /// How many lookups of one host may be under way.
    each: usize,
    /// Whether somebody waits for the answer still.
    is_open: fn(&R) -> bool,
}

#[derive(Debug)]
struct Host<R> {
    under_way: usize,
    waiting: Vec<R>,
    is_ready: bool,
    sweep_at: usize,
}

impl<R> Queue<R> {
    pub(super) fn new(each: usize, is_open: fn(&R) -> bool) -> Self {
        Queue { hosts: HashMap::new(), ready: VecDeque::new(), each, is_open }
    }

    /// How many hosts could be looked up at once.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn ask(&mut self, name: &str, request: R) {
        let name: Arc<str> = name.into();
        let new = || Host { under_way: 0, waiting: Vec::new(), is_ready: false, sweep_at: SWEPT_FROM };
        let host = self.hosts.entry(Arc::clone(&name)).or_insert_with(new);
        if host.waiting.len() >= host.sweep_at {
            host.waiting.retain(self.is_open);
            host.sweep_at = (host.waiting.len() * 2).max(SWEPT_FROM);
        }
        host.waiting.push(request);
        if host.under_way < self.each && !host.is_ready {
            host.is_ready = true;
            self.ready.push_back(name);
        }
    }

    /// The host to look up next, and all whom the answer is for; [`Queue::done`] when there is one.
    pub(super) fn next(&mut self) -> Option<(Arc<str>, Vec<R>)> {
        while let Some(name) = self.ready.pop_front() {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            host.is_ready = false;
            let mut waiting = std::mem::take(&mut host.waiting);
            waiting.retain(self.is_open);
            if !waiting.is_empty() {
                host.under_way += 1;
                return Some((name, waiting));
            }
            if host.under_way == 0 {
                self.hosts.remove(&name);
            }
        }
        None
    }

    /// A lookup of this host has ended.
    pub(super) fn done(&mut self, name: &Arc<str>) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.under_way -= 1;
        if !host.waiting.is_empty() {
            if !host.is_ready {
                host.is_ready = true;
                self.ready.push_back(Arc::clone(name));
            }
        } else if host.under_way == 0 {
            self.hosts.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd numbers are taken back from the start.
    fn queue(each: usize) -> Queue<u32> {
        Queue::new(each, |request| request % 2 == 0)
    }

    fn next(queue: &mut Queue<u32>) -> Option<(String, Vec<u32>)> {
        queue.next().map(|(name, waiting)| (name.to_string(), waiting))
    }

    #[test]
    fn each_request_has_a_lookup_that_begins_after_it() {
        let mut queue = queue(2);
        for request in [2, 4, 6, 8] {
            queue.ask("a", request);
            if request < 6 {
                assert_eq!(next(&mut queue), Some(("a".to_owned(), vec![request])));
            }
        }
        assert_eq!(next(&mut queue), None, "two are under way");
        queue.done(&"a".into());
        assert_eq!(queue.ready(), 1);
        assert_eq!(next(&mut queue), Some(("a".to_owned(), vec![6, 8])), "one lookup for all who wait");
        assert_eq!(next(&mut queue), None);
    }

    #[test]
    fn hosts_take_turns() {
        let mut queue = queue(1);
        queue.ask("hangs", 2);
        assert_eq!(next(&mut queue), Some(("hangs".to_owned(), vec![2])));
        queue.ask("hangs", 4);
        queue.ask("b", 6);
        queue.ask("c", 8);
        assert_eq!(queue.ready(), 2);
        assert_eq!(next(&mut queue), Some(("b".to_owned(), vec![6])));
        assert_eq!(next(&mut queue), Some(("c".to_owned(), vec![8])));
        assert_eq!(next(&mut queue), None);
    }

    #[test]
    fn what_was_taken_back_is_not_looked_up_and_nothing_is_kept() {
        let mut queue = queue(1);
        queue.ask("a", 1);
        queue.ask("b", 3);
        queue.ask("b", 4);
        assert_eq!(next(&mut queue), Some(("b".to_owned(), vec![4])));
        queue.ask("b", 5);
        queue.done(&"b".into());
        assert_eq!(next(&mut queue), None);
        assert!(queue.hosts.is_empty() && queue.ready.is_empty());
    }

    #[test]
    fn requests_taken_back_do_not_pile_up_behind_one_that_hangs() {
        let mut queue = queue(1);
        queue.ask("hangs", 2);
        assert!(next(&mut queue).is_some());
        for _ in 0..10_000 {
            queue.ask("hangs", 1);
        }
        queue.ask("hangs", 4);
        assert!(queue.hosts["hangs"].waiting.len() <= SWEPT_FROM + 1);
        queue.done(&"hangs".into());
        assert_eq!(next(&mut queue), Some(("hangs".to_owned(), vec![4])));
    }
}
