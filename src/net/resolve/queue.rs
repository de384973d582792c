//! Who waits for which name, and which is looked up next. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many requests for a name are kept before those that nobody waits for are looked for.
const SWEPT_FROM: usize = 32;

/// Requests by host. A host has some lookups under way, of which none answers a request that came after its start.
///
/// The first lookup of a host comes before the second one of any other, and the second and further ones of all hosts are
/// bounded together: so hosts whose lookups hang leave room for one that does not, whoever else waits for them.
#[derive(Debug)]
pub(super) struct Queue<R> {
    hosts: HashMap<Arc<str>, Host<R>>,
    /// Hosts that are waited for and may be looked up, none of whose lookups is under way.
    first: VecDeque<Arc<str>>,
    /// The others that are waited for and may be looked up.
    further: VecDeque<Arc<str>>,
    /// How many lookups are under way.
    under_way: usize,
    limits: Limits,
    /// Whether somebody waits for the answer still.
    is_open: fn(&R) -> bool,
}

/// How many lookups may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of one host.
    pub(super) each: usize,
    /// Of all hosts, where one has some already.
    pub(super) further: usize,
}

#[derive(Debug)]
struct Host<R> {
    under_way: usize,
    waiting: Vec<R>,
    /// It is in one of the lists of hosts to be looked up.
    is_ready: bool,
    sweep_at: usize,
}

impl<R> Queue<R> {
    pub(super) fn new(limits: Limits, is_open: fn(&R) -> bool) -> Self {
        let (first, further) = (VecDeque::new(), VecDeque::new());
        Queue { hosts: HashMap::new(), first, further, under_way: 0, limits, is_open }
    }

    /// How many hosts could be looked up at once.
    pub(super) fn ready(&self) -> usize {
        self.first.len() + self.further.len().min(self.limits.further.saturating_sub(self.under_way))
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
        if host.under_way < self.limits.each && !host.is_ready {
            host.is_ready = true;
            if host.under_way == 0 { self.first.push_back(name) } else { self.further.push_back(name) }
        }
    }

    /// The host to look up next, and all whom the answer is for; [`Queue::done`] when there is one.
    pub(super) fn next(&mut self) -> Option<(Arc<str>, Vec<R>)> {
        while let Some(name) = self.pop() {
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            host.is_ready = false;
            let mut waiting = std::mem::take(&mut host.waiting);
            waiting.retain(self.is_open);
            if !waiting.is_empty() {
                host.under_way += 1;
                self.under_way += 1;
                return Some((name, waiting));
            }
            if host.under_way == 0 {
                self.hosts.remove(&name);
            }
        }
        None
    }

    fn pop(&mut self) -> Option<Arc<str>> {
        if let Some(name) = self.first.pop_front() {
            return Some(name);
        }
        if self.under_way < self.limits.further { self.further.pop_front() } else { None }
    }

    /// A lookup of this host has ended.
    pub(super) fn done(&mut self, name: &Arc<str>) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        host.under_way -= 1;
        self.under_way -= 1;
        if !host.waiting.is_empty() {
            let was_ready = std::mem::replace(&mut host.is_ready, true);
            if host.under_way == 0 {
                self.further.retain(|further| !was_ready || further != name);
                self.first.push_back(Arc::clone(name));
            } else if !was_ready {
                self.further.push_back(Arc::clone(name));
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
        Queue::new(Limits { each, further: 100 }, |request| request % 2 == 0)
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
        assert!(queue.hosts.is_empty() && queue.first.is_empty() && queue.further.is_empty());
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

    #[test]
    fn hosts_that_hang_leave_room_for_those_that_do_not() {
        let mut queue = Queue::<u32>::new(Limits { each: 4, further: 8 }, |_| true);
        let mut looked_up = HashMap::<String, usize>::new();
        for number in 0..100 {
            for _ in 0..6 {
                queue.ask(&format!("hangs-{number}"), 0);
                while let Some((name, _)) = next(&mut queue) {
                    *looked_up.entry(name).or_default() += 1;
                }
            }
        }
        assert_eq!(looked_up.len(), 100, "each has one of its own");
        let count = |lookups: usize| looked_up.values().filter(|&&known| known == lookups).count();
        assert_eq!((count(4), count(1)), (2, 98), "until eight were under way they had four");
        assert_eq!(queue.ready(), 0);
        queue.ask("good", 2);
        assert_eq!(queue.ready(), 1);
        assert_eq!(next(&mut queue), Some(("good".to_owned(), vec![2])));
        queue.done(&"good".into());
        // Who waits for one that hangs is not forgotten: its next lookup begins when the one before has ended.
        queue.ask("hangs-99", 8);
        assert_eq!(next(&mut queue), None);
        queue.done(&"hangs-99".into());
        assert_eq!(next(&mut queue), Some(("hangs-99".to_owned(), vec![0, 0, 0, 0, 0, 8])));
    }

    #[test]
    fn the_first_lookup_of_a_host_comes_before_the_second_of_another() {
        let mut queue = queue(2);
        queue.ask("a", 2);
        assert!(next(&mut queue).is_some());
        queue.ask("a", 4);
        queue.ask("b", 6);
        assert_eq!(next(&mut queue), Some(("b".to_owned(), vec![6])));
        assert_eq!(next(&mut queue), Some(("a".to_owned(), vec![4])));
    }

    #[test]
    fn whatever_happens_each_host_that_is_waited_for_is_looked_up() {
        let mut random: u64 = 0x5eed;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut queue = queue(3);
        queue.limits.further = 5;
        let mut under_way: Vec<Arc<str>> = Vec::new();
        for _ in 0..20_000 {
            match below(3) {
                0 => queue.ask(&below(12).to_string(), u32::try_from(below(6)).expect("a small number")),
                1 => {
                    let ready = queue.ready();
                    let next = queue.next();
                    assert!(next.is_none() || ready > 0, "nobody would have been woken for it");
                    under_way.extend(next.map(|(name, _)| name));
                }
                _ if under_way.is_empty() => {}
                _ => {
                    let index = usize::try_from(below(under_way.len() as u64)).expect("an index");
                    queue.done(&under_way.swap_remove(index));
                }
            }
            for (name, host) in &queue.hosts {
                let listed = queue.first.iter().chain(&queue.further).filter(|other| *other == name).count();
                assert_eq!(listed, usize::from(host.is_ready), "each once");
                assert!(host.waiting.is_empty() || host.under_way > 0 || queue.first.contains(name), "{name} waits");
                assert!(host.under_way <= 3);
            }
            assert_eq!(queue.under_way, under_way.len());
        }
    }
}
