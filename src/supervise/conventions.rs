//! What a child finds in its environment: ours and systemd's variables, and none of an outer manager's.

use super::settings::Pass;
use super::state::Number;
use socket_protector_client::environment::{
    FIRST_LISTEN_FD, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, SOCKET_PROTECTOR_CHANNEL, SOCKET_PROTECTOR_GENERATION,
    SOCKET_PROTECTOR_LISTENERS, SOCKET_PROTECTOR_NAME,
};
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

const NOTIFY_FD: &str = "NOTIFY_FD";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";

/// Variables by which a manager tells a program what it was given. One that an outer manager told *us* would mislead
/// a child: the descriptors and sockets it speaks of are not the child's.
const MANAGERS: [&str; 16] = [
    "FDSTORE",
    LISTEN_FDNAMES,
    LISTEN_FDS,
    "LISTEN_FDS_FIRST_FD",
    LISTEN_PID,
    "LISTEN_PIDFDID",
    "MAINPID",
    NOTIFY_FD,
    NOTIFY_SOCKET,
    "SERVER_STARTER_GENERATION",
    "SERVER_STARTER_PORT",
    SOCKET_PROTECTOR_CHANNEL,
    SOCKET_PROTECTOR_GENERATION,
    SOCKET_PROTECTOR_LISTENERS,
    SOCKET_PROTECTOR_NAME,
    WATCHDOG_USEC,
];
/// The same for whole families of names.
const FAMILIES: [&str; 2] = ["EINHORN_", "WATCHDOG_"];

/// The environment without what an outer manager set.
pub fn without_managers(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    variables.filter(|(name, _)| !is_a_managers(name)).collect()
}

fn is_a_managers(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    MANAGERS.iter().any(|manager| manager.as_bytes() == name)
        || FAMILIES.iter().any(|family| name.starts_with(family.as_bytes()))
}

/// What one child is given, as far as its environment tells it.
#[derive(Debug)]
pub struct Given<'a> {
    /// How it gets its connections.
    pub pass: Pass,
    /// The names of the listeners, which it inherits in the listener pass.
    pub listeners: &'a [&'a str],
    /// The names of stored descriptors that come back to it.
    pub stored: &'a [&'a str],
    /// The generation that it belongs to.
    pub number: Number,
    /// The name of the instance.
    pub name: &'a str,
    /// The socket for sd_notify(3).
    pub notify: &'a Path,
    /// How often it must say that it lives.
    pub watchdog: Option<Duration>,
    /// Whether it has a descriptor to say on that it is ready.
    pub ready_descriptor: bool,
}

impl Given<'_> {
    /// The names of the listeners that it inherits.
    fn inherited(&self) -> &[&str] {
        if self.pass == Pass::Listener { self.listeners } else { &[] }
    }

    /// The names of all that LISTEN_FDS announces: listeners, then stored descriptors.
    fn announced(&self) -> Vec<&str> {
        [self.inherited(), self.stored].concat()
    }

    /// Whether LISTEN_FDS and its companions are set at all.
    pub fn announces(&self) -> bool {
        !self.announced().is_empty()
    }

    /// The number of its channel: after all that is announced. What else it is given follows.
    pub fn channel_descriptor(&self) -> RawFd {
        FIRST_LISTEN_FD + self.announced().len() as RawFd
    }

    /// The number of the descriptor to say on that it is ready.
    pub fn ready_descriptor(&self) -> RawFd {
        self.channel_descriptor() + 1
    }

    /// Its environment. LISTEN_PID is missing: only the child itself can know it.
    pub fn environment(&self, base: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
        let mut variables = base.to_vec();
        let mut set = |name: &str, value: OsString| variables.push((name.into(), value));
        let announced = self.announced();
        if !announced.is_empty() {
            set(LISTEN_FDS, announced.len().to_string().into());
            set(LISTEN_FDNAMES, announced.join(":").into());
        }
        set(NOTIFY_SOCKET, self.notify.into());
        if let Some(every) = self.watchdog {
            set(WATCHDOG_USEC, every.as_micros().to_string().into());
        }
        if self.ready_descriptor {
            set(NOTIFY_FD, self.ready_descriptor().to_string().into());
        }
        set(SOCKET_PROTECTOR_CHANNEL, self.channel_descriptor().to_string().into());
        set(SOCKET_PROTECTOR_GENERATION, self.number.to_string().into());
        set(SOCKET_PROTECTOR_LISTENERS, self.inherited().len().to_string().into());
        set(SOCKET_PROTECTOR_NAME, self.name.into());
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::{Given, without_managers};
    use crate::supervise::settings::Pass;
    use crate::supervise::state::Number;
    use std::ffi::OsString;
    use std::path::Path;
    use std::time::Duration;

    fn pairs(text: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        text.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn what_an_outer_manager_set_is_removed_and_nothing_else() {
        let outer = pairs(&[
            ("LISTEN_FDS", "2"),
            ("LISTEN_PIDFDID", "7"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("WATCHDOG_PID", "1"),
            ("EINHORN_FD_0", "7"),
            ("SERVER_STARTER_PORT", "80=4"),
            ("SOCKET_PROTECTOR_CHANNEL", "3"),
            ("SOCKET_PROTECTOR_RUN_DIR", "/run/y"),
            ("LISTEN", "mine"),
            ("PATH", "/bin"),
        ]);
        let kept = pairs(&[("SOCKET_PROTECTOR_RUN_DIR", "/run/y"), ("LISTEN", "mine"), ("PATH", "/bin")]);
        assert_eq!(without_managers(outer.into_iter()), kept);
    }

    fn given(pass: Pass) -> Given<'static> {
        Given {
            pass,
            listeners: &["web", "4322"],
            stored: &[],
            number: Number(7),
            name: "shop",
            notify: Path::new("/run/n"),
            watchdog: None,
            ready_descriptor: false,
        }
    }

    fn environment(given: &Given<'_>) -> Vec<(OsString, OsString)> {
        given.environment(&pairs(&[("A", "b")]))
    }

    #[test]
    fn sockets_are_announced_only_where_sockets_are_passed() {
        let ours = |listeners| {
            let name = ("SOCKET_PROTECTOR_NAME", "shop");
            [("SOCKET_PROTECTOR_GENERATION", "7"), ("SOCKET_PROTECTOR_LISTENERS", listeners), name]
        };
        let notify = ("NOTIFY_SOCKET", "/run/n");
        let listener = [
            ("A", "b"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "web:4322"),
            notify,
            ("SOCKET_PROTECTOR_CHANNEL", "5"),
        ];
        assert_eq!(environment(&given(Pass::Listener)), pairs(&[&listener[..], &ours("2")].concat()));
        let connections = [("A", "b"), notify, ("SOCKET_PROTECTOR_CHANNEL", "3")];
        assert_eq!(environment(&given(Pass::Connections)), pairs(&[&connections[..], &ours("0")].concat()));
    }

    #[test]
    fn stored_descriptors_come_after_the_listeners_and_the_rest_after_them() {
        let all = |pass| Given {
            stored: &["state", "stored"],
            watchdog: Some(Duration::from_millis(1500)),
            ready_descriptor: true,
            ..given(pass)
        };
        let value = |given: &Given<'_>, name: &str| {
            let found = environment(given).into_iter().find(|(variable, _)| variable == name);
            found.map(|(_, value)| value.into_string().unwrap()).unwrap()
        };
        let listener = all(Pass::Listener);
        assert_eq!(value(&listener, "LISTEN_FDNAMES"), "web:4322:state:stored");
        assert_eq!(value(&listener, "SOCKET_PROTECTOR_CHANNEL"), "7");
        assert_eq!(value(&listener, "NOTIFY_FD"), "8");
        assert_eq!(value(&listener, "SOCKET_PROTECTOR_LISTENERS"), "2");
        assert_eq!(value(&listener, "WATCHDOG_USEC"), "1500000");
        let connections = all(Pass::Connections);
        assert_eq!(value(&connections, "LISTEN_FDS"), "2");
        assert_eq!(value(&connections, "SOCKET_PROTECTOR_LISTENERS"), "0");
        assert_eq!(value(&connections, "SOCKET_PROTECTOR_CHANNEL"), "5");
    }
}
