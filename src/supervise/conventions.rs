//! What a child finds in its environment: ours and systemd's variables, and none of an outer manager's.

use super::settings::Pass;
use super::state::Number;
use socket_protector_client::environment::{
    FIRST_LISTEN_FD, LISTEN_FDNAMES, LISTEN_FDS, LISTEN_PID, SOCKET_PROTECTOR_CHANNEL, SOCKET_PROTECTOR_GENERATION,
    SOCKET_PROTECTOR_NAME,
};
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;

/// Variables by which a manager tells a program what it was given. One that an outer manager told *us* would mislead
/// a child: the descriptors and sockets it speaks of are not the child's.
const MANAGERS: [&str; 15] = [
    "FDSTORE",
    LISTEN_FDNAMES,
    LISTEN_FDS,
    "LISTEN_FDS_FIRST_FD",
    LISTEN_PID,
    "LISTEN_PIDFDID",
    "MAINPID",
    "NOTIFY_FD",
    "NOTIFY_SOCKET",
    "SERVER_STARTER_GENERATION",
    "SERVER_STARTER_PORT",
    SOCKET_PROTECTOR_CHANNEL,
    SOCKET_PROTECTOR_GENERATION,
    SOCKET_PROTECTOR_NAME,
    "WATCHDOG_USEC",
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

/// The number of the descriptor that a child has its channel at: after the listeners, if it gets any.
pub fn channel_descriptor(pass: Pass, listeners: usize) -> RawFd {
    match pass {
        Pass::Listener => FIRST_LISTEN_FD + listeners as RawFd,
        Pass::Connections => FIRST_LISTEN_FD,
    }
}

/// The environment of one child. LISTEN_PID is missing: only the child itself can know it.
pub fn environment(
    base: &[(OsString, OsString)],
    pass: Pass,
    listeners: &[&str],
    number: Number,
    name: &str,
) -> Vec<(OsString, OsString)> {
    let mut variables = base.to_vec();
    let mut set = |name: &str, value: String| variables.push((name.into(), value.into()));
    if pass == Pass::Listener {
        set(LISTEN_FDS, listeners.len().to_string());
        set(LISTEN_FDNAMES, listeners.join(":"));
    }
    set(SOCKET_PROTECTOR_CHANNEL, channel_descriptor(pass, listeners.len()).to_string());
    set(SOCKET_PROTECTOR_GENERATION, number.to_string());
    set(SOCKET_PROTECTOR_NAME, name.to_string());
    variables
}

#[cfg(test)]
mod tests {
    use super::{environment, without_managers};
    use crate::supervise::settings::Pass;
    use crate::supervise::state::Number;
    use std::ffi::OsString;

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

    #[test]
    fn sockets_are_announced_only_where_sockets_are_passed() {
        let of = |pass| environment(&pairs(&[("A", "b")]), pass, &["web", "4322"], Number(7), "shop");
        let ours = [("SOCKET_PROTECTOR_GENERATION", "7"), ("SOCKET_PROTECTOR_NAME", "shop")];
        let listener =
            [("A", "b"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web:4322"), ("SOCKET_PROTECTOR_CHANNEL", "5")];
        assert_eq!(of(Pass::Listener), pairs(&[&listener[..], &ours].concat()));
        let connections = [("A", "b"), ("SOCKET_PROTECTOR_CHANNEL", "3")];
        assert_eq!(of(Pass::Connections), pairs(&[&connections[..], &ours].concat()));
    }
}
