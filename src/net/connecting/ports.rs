//! The ports that the kernel chooses from for connections that are made: only to one of these can a socket come to be
//! connected to itself.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long what was read is believed: an administrator may change it.
const BELIEVED: Duration = Duration::from_secs(10);

/// A range, and when it was read; shared by all threads, without a lock.
#[derive(Debug)]
pub(super) struct ChosenPorts {
    began: OnceLock<Instant>,
    /// The second in which it was read, counted from 1, and the two ends; 0 before the first time.
    known: AtomicU64,
}

/// Those of this host, and of the network namespace in which we were started.
pub(super) static CHOSEN: ChosenPorts = ChosenPorts { began: OnceLock::new(), known: AtomicU64::new(0) };

impl ChosenPorts {
    /// Whether the kernel may choose this port. `read` is asked when what it said is too old.
    pub(super) fn may_have(&self, port: u16, now: Instant, read: impl Fn() -> RangeInclusive<u16>) -> bool {
        let second = now.saturating_duration_since(*self.began.get_or_init(|| now)).as_secs() + 1;
        let known = self.known.load(Ordering::Relaxed);
        let (read_at, [high, low]) = (known >> 32, [known >> 16, known].map(|end| (end & 0xffff) as u16));
        if read_at != 0 && second.saturating_sub(read_at) < BELIEVED.as_secs() {
            return (low..=high).contains(&port);
        }
        let range = read();
        let ends = u64::from(*range.end()) << 16 | u64::from(*range.start());
        self.known.store((second & 0xffff_ffff) << 32 | ends, Ordering::Relaxed);
        range.contains(&port)
    }
}

/// What the kernel says, ip(7); all ports where it says nothing.
pub(super) fn system() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range(&text).unwrap_or(0..=u16::MAX)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(|end| end.parse().ok());
    Some(ends.next()??..=ends.next()??)
}

#[cfg(test)]
mod tests {
    use super::{BELIEVED, ChosenPorts, range, system};
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    #[test]
    fn a_range_is_two_numbers_and_what_is_none_is_not_believed() {
        assert_eq!(range("32768\t60999\n"), Some(32768..=60999));
        for wrong in ["", "1", "1 x", "1 70000"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
        assert!(!system().is_empty());
    }

    #[test]
    fn it_is_read_once_in_a_while_and_a_change_is_noticed() {
        let ports = ChosenPorts { began: OnceLock::new(), known: AtomicU64::new(0) };
        let start = Instant::now();
        assert!(ports.may_have(1000, start, || 1000..=2000));
        let late = start + BELIEVED - Duration::from_secs(1);
        for (port, has) in [(999, false), (1000, true), (2000, true), (2001, false)] {
            assert_eq!(ports.may_have(port, late, || panic!("it is known")), has, "{port}");
        }
        assert!(ports.may_have(80, start + BELIEVED, || 1..=u16::MAX));
        assert!(ports.may_have(u16::MAX, start + BELIEVED, || panic!("it is known")));
    }
}
