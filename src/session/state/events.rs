//! Events between the bytes of the output. They are kept with the output, so that whoever comes later knows them too,
//! and the last of each kind for good.

use std::collections::VecDeque;

/// So many are kept at the most. There are 256 kinds, so one that a later one of its kind has replaced is among more.
pub(super) const MOST: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Counts events, from 0 up.
    pub(super) serial: u64,
    pub(super) offset: u64,
    pub(super) kind: u8,
    pub(super) body: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(super) struct Events {
    pub(super) list: VecDeque<Event>,
    pub(super) next: u64,
}

impl Events {
    /// Something happened behind the last byte of an output from `base` to `offset`.
    pub(super) fn push(&mut self, (base, offset): (u64, u64), kind: u8, body: &[u8]) {
        // At one place only the last of a kind counts, and it is told once more to those who know another.
        self.list.retain(|event| (event.offset, event.kind) != (offset, kind));
        self.list.push_back(Event { serial: self.next, offset, kind, body: body.into() });
        self.next += 1;
        if self.list.len() > MOST / 2 {
            self.drop_replaced(base);
        }
        if self.list.len() > MOST
            && let Some(replaced) = self.list.iter().position(|event| self.is_replaced(event, offset))
        {
            self.list.remove(replaced);
        }
    }

    /// The first from this serial on that matters to somebody whose output began at `start`.
    pub(super) fn from(&self, serial: u64, start: u64) -> Option<&Event> {
        let first = self.list.partition_point(|event| event.serial < serial);
        self.list.range(first..).find(|event| !self.is_replaced(event, start))
    }

    pub(super) fn memory(&self) -> usize {
        self.list.capacity() * size_of::<Event>() + self.list.iter().map(|event| event.body.len()).sum::<usize>()
    }

    /// Whether another one of its kind has come until then.
    fn is_replaced(&self, event: &Event, until: u64) -> bool {
        let first = self.list.partition_point(|other| other.serial <= event.serial);
        let later = self.list.range(first..);
        later.take_while(|other| other.offset <= until).any(|other| other.kind == event.kind)
    }

    /// Nobody begins before the base.
    fn drop_replaced(&mut self, base: u64) {
        let mut last = [false; 256];
        let mut kept = VecDeque::with_capacity(self.list.len());
        for event in self.list.drain(..).rev() {
            let old = event.offset <= base;
            if !old || !last[usize::from(event.kind)] {
                last[usize::from(event.kind)] |= old;
                kept.push_front(event);
            }
        }
        self.list = kept;
    }
}
