//! What a child says by sd_notify(3): one datagram of `NAME=value` lines. Pure.

use std::time::Duration;

/// The longest datagram that is taken; a longer one is no message of anybody's.
pub const LONGEST: usize = 4096;
/// The longest status text that is kept.
const LONGEST_STATUS: usize = 1024;
/// The longest name of a stored descriptor; as systemd has it.
const LONGEST_NAME: usize = 255;
/// The name of a stored descriptor that was given none.
const NAMELESS: &str = "stored";

/// One message. What it does not say is absent; what we do not know, or what makes no sense, is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// It can serve.
    pub ready: bool,
    /// It reloads itself.
    pub reloading: bool,
    /// It is about to end.
    pub stopping: bool,
    /// What it is doing, for people.
    pub status: Option<String>,
    /// Another process of it is the main one from now on.
    pub main_pid: Option<i32>,
    /// The watchdog.
    pub watchdog: Option<Watchdog>,
    /// The watchdog's time from now on; zero switches it off.
    pub watchdog_time: Option<Duration>,
    /// What it does takes so much longer, from now.
    pub extend: Option<Duration>,
    /// Close the one descriptor that came along, once all before this has been dealt with.
    pub barrier: bool,
    /// What is to be done with the descriptors that came along, or with stored ones.
    pub store: Option<Store>,
}

/// A word to the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watchdog {
    /// It lives.
    Alive,
    /// It asks to be taken for dead.
    Trigger,
}

/// A word about stored descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Keep them under this name; `poll`: only as long as they have not hung up.
    Keep {
        /// The name.
        name: String,
        /// Whether they are dropped when they hang up.
        poll: bool,
    },
    /// Drop those of this name.
    Remove {
        /// The name.
        name: String,
    },
}

impl Message {
    /// Reads a datagram; `None` when it has a NUL in it. Many a program also sends the one that ends its string.
    pub fn parse(datagram: &[u8]) -> Option<Message> {
        let datagram = datagram.strip_suffix(b"\0").unwrap_or(datagram);
        if datagram.contains(&0) {
            return None;
        }
        // A line that is no text makes none of the others void.
        let lines = datagram.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let mut message = Message::default();
        let (mut keep, mut remove, mut poll, mut name) = (false, false, true, None);
        for (key, value) in lines.filter_map(|line| line.split_once('=')) {
            match (key, value) {
                ("READY", "1") => message.ready = true,
                ("RELOADING", "1") => message.reloading = true,
                ("STOPPING", "1") => message.stopping = true,
                ("BARRIER", "1") => message.barrier = true,
                ("FDSTORE", "1") => keep = true,
                ("FDSTOREREMOVE", "1") => remove = true,
                ("FDPOLL", "0") => poll = false,
                ("FDNAME", value) => name = Some(value).filter(|value| is_a_name(value)),
                ("STATUS", value) => message.status = Some(cut(value)),
                ("MAINPID", value) => message.main_pid = value.parse().ok().filter(|pid| *pid > 0),
                ("WATCHDOG", "1") => message.watchdog = Some(Watchdog::Alive),
                ("WATCHDOG", "trigger") => message.watchdog = Some(Watchdog::Trigger),
                ("WATCHDOG_USEC", value) => message.watchdog_time = microseconds(value),
                ("EXTEND_TIMEOUT_USEC", value) => message.extend = microseconds(value),
                _ => {}
            }
        }
        // At a barrier its sender waits for the close of what came along, so nothing of that is kept.
        message.store = match (keep && !message.barrier, remove, name) {
            (true, _, name) => Some(Store::Keep { name: name.unwrap_or(NAMELESS).into(), poll }),
            (false, true, Some(name)) => Some(Store::Remove { name: name.into() }),
            (false, _, _) => None,
        };
        Some(message)
    }

    /// Whether this says how its sender is. One that only stores descriptors, or waits at a barrier, says nothing.
    pub fn speaks(&self) -> bool {
        let Message { ready, reloading, stopping, status, main_pid, watchdog, watchdog_time, extend, .. } = self;
        let times = watchdog_time.is_some() || extend.is_some();
        *ready || *reloading || *stopping || times || status.is_some() || main_pid.is_some() || watchdog.is_some()
    }
}

/// ASCII without control characters and colons, since names are joined by these in LISTEN_FDNAMES.
fn is_a_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii() && !byte.is_ascii_control() && byte != b':';
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(fits)
}

fn cut(text: &str) -> String {
    let end = (0..=LONGEST_STATUS.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    crate::process::output::printable(&text.as_bytes()[..end])
}

fn microseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_STATUS, Message, Store, Watchdog};
    use std::time::Duration;

    fn parse(text: &str) -> Message {
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_said_is_understood_and_all_else_left_out() {
        assert_eq!(
            parse("READY=1\nSTATUS=serving 3"),
            Message { ready: true, status: Some("serving 3".into()), ..Message::default() }
        );
        assert_eq!(parse("X_MINE=1\nREADY=2\nno pair\n=\nMAINPID=0\nMAINPID=-4"), Message::default());
        assert_eq!(parse(""), Message::default());
        let times =
            parse("WATCHDOG_USEC=0\nEXTEND_TIMEOUT_USEC=1500000\nWATCHDOG=1\nMAINPID=42\nSTOPPING=1\nRELOADING=1");
        assert_eq!(
            times,
            Message {
                watchdog_time: Some(Duration::ZERO),
                extend: Some(Duration::from_millis(1500)),
                watchdog: Some(Watchdog::Alive),
                main_pid: Some(42),
                stopping: true,
                reloading: true,
                ..Message::default()
            }
        );
        assert_eq!(parse("WATCHDOG=trigger").watchdog, Some(Watchdog::Trigger));
        assert!(parse("BARRIER=1").barrier);
    }

    #[test]
    fn descriptors_are_kept_by_name_and_removed_only_by_name() {
        let keep = |name: &str, poll| Some(Store::Keep { name: name.into(), poll });
        assert_eq!(parse("FDSTORE=1").store, keep("stored", true));
        assert_eq!(parse("FDSTORE=1\nFDNAME=state\nFDPOLL=0").store, keep("state", false));
        assert_eq!(parse("FDNAME=a:b\nFDSTORE=1").store, keep("stored", true), "no colon in a name");
        assert_eq!(parse("FDSTOREREMOVE=1\nFDNAME=state").store, Some(Store::Remove { name: "state".into() }));
        assert_eq!(parse("FDSTOREREMOVE=1").store, None);
        assert_eq!(parse("FDNAME=state").store, None);
        assert_eq!(parse("FDSTORE=1\nBARRIER=1").store, None, "whoever waits at a barrier waits for its close");
    }

    #[test]
    fn a_nul_inside_is_no_message_and_one_at_the_end_is_none_of_it() {
        assert_eq!(Message::parse(b"READY=1\0STATUS=x"), None);
        assert_eq!(Message::parse(b"READY=1\0\0"), None);
        assert!(Message::parse(b"READY=1\0").unwrap().ready);
    }

    #[test]
    fn a_line_that_is_no_text_is_left_out_alone() {
        let message = Message::parse(b"STATUS=\xff\nREADY=1").unwrap();
        assert_eq!(message, Message { ready: true, ..Message::default() });
    }

    #[test]
    fn only_what_tells_how_it_is_counts_as_speaking() {
        for word in ["READY=1", "STATUS=", "STOPPING=1", "RELOADING=1", "MAINPID=7", "WATCHDOG=1", "WATCHDOG_USEC=0"] {
            assert!(parse(word).speaks(), "{word}");
        }
        for word in ["", "X=1", "BARRIER=1", "FDSTORE=1", "FDSTOREREMOVE=1\nFDNAME=a"] {
            assert!(!parse(word).speaks(), "{word}");
        }
    }

    #[test]
    fn a_status_is_cut_at_a_character_and_harms_no_terminal() {
        let long = format!("STATUS={}", "ä".repeat(LONGEST_STATUS));
        assert_eq!(parse(&long).status.unwrap().len(), LONGEST_STATUS);
        assert_eq!(parse("STATUS=a\x1b[2Jb").status.unwrap(), "a\u{fffd}[2Jb");
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic() {
        let mut seed = 1_u64;
        for _ in 0..2000 {
            let mut datagram = b"STATUS=\nFDNAME=\nMAINPID=9\nWATCHDOG_USEC=18446744073709551615\nBARRIER=1".to_vec();
            for _ in 0..5 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = (seed >> 33) as usize % datagram.len();
                datagram[place] = (seed >> 25) as u8;
            }
            let _ = Message::parse(&datagram);
        }
    }
}
