//! What a child finds in its environment: our variables and those of systemd, Server::Starter and einhorn, which all tell
//! the same; and none of an outer manager's. `docs/conventions.md` has their values.

use super::address::PORT;
use super::settings::Pass;
use super::state::Number;
use crate::net::endpoint::{Interface, Listen};
use crate::net::listener::Address;
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
const SERVER_STARTER_PORT: &str = "SERVER_STARTER_PORT";
const SERVER_STARTER_GENERATION: &str = "SERVER_STARTER_GENERATION";

/// Variables by which whoever starts a program tells it what it was given. One that an outer manager told *us* would mislead
/// a child: the descriptors and sockets it speaks of are not the child's.
const MANAGERS: [&str; 17] = [
    "FDSTORE",
    LISTEN_FDNAMES,
    LISTEN_FDS,
    "LISTEN_FDS_FIRST_FD",
    LISTEN_PID,
    "LISTEN_PIDFDID",
    "MAINPID",
    "MAINPIDFDID",
    NOTIFY_FD,
    NOTIFY_SOCKET,
    SERVER_STARTER_GENERATION,
    SERVER_STARTER_PORT,
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

/// How Server::Starter names a listener: by the bare port when it was given no address, else by the address as it was
/// given, or by the path.
pub fn starter_key(listen: &Listen, address: &Address) -> String {
    let interface = match listen {
        Listen::Tcp(tcp) => Some(&tcp.interface),
        Listen::Tls(tls) => Some(&tls.tcp.interface),
        Listen::Udp(udp) => Some(&udp.interface),
        Listen::Unix(_) | Listen::Adopt(_) | Listen::Proxied(_) => None,
    };
    match (address, interface) {
        (Address::Internet(address), Some(interface)) => of_interface(interface, address.port()),
        (Address::Internet(address), None) if address.ip().is_unspecified() => address.port().to_string(),
        (Address::Internet(address), None) => address.to_string(),
        (Address::Path(path), _) => path.display().to_string(),
        (Address::Abstract(name), _) => format!("@{}", String::from_utf8_lossy(name)),
        (Address::Unnamed, _) => "unnamed".to_owned(),
    }
}

fn of_interface(interface: &Interface, port: u16) -> String {
    match interface {
        Interface::All => port.to_string(),
        Interface::Name(name) => format!("{name}:{port}"),
        Interface::V4(address) => format!("{address}:{port}"),
        Interface::V6 { address, zone: None } => format!("[{address}]:{port}"),
        Interface::V6 { address, zone: Some(zone) } => format!("[{address}%{zone}]:{port}"),
    }
}

/// What one child is given, as far as its environment tells it.
#[derive(Debug)]
pub struct Given<'a> {
    /// How it gets its connections.
    pub pass: Pass,
    /// The names of the listeners, which it inherits in the listener pass.
    pub listeners: &'a [&'a str],
    /// What Server::Starter would call them, in the same order.
    pub keys: &'a [&'a str],
    /// The names of stored descriptors that come back to it.
    pub stored: &'a [&'a str],
    /// The generation that it belongs to.
    pub number: Number,
    /// The name of the instance.
    pub name: &'a str,
    /// The socket for sd_notify(3).
    pub notify: &'a Path,
    /// The socket for einhorn's ACK.
    pub einhorn: &'a Path,
    /// Our pid.
    pub supervisor: u32,
    /// How often it must say that it lives.
    pub watchdog: Option<Duration>,
    /// Whether it has a descriptor to say on that it is ready.
    pub ready_descriptor: bool,
    /// The port that it is to listen on, where it has one of its own.
    pub port: Option<u16>,
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
        if self.port.is_some() {
            variables.retain(|(name, _)| name != PORT);
        }
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
        if self.pass == Pass::Listener {
            let fds = FIRST_LISTEN_FD..;
            let ports = self.keys.iter().zip(fds).map(|(key, fd)| format!("{key}={fd}")).collect::<Vec<_>>();
            set(SERVER_STARTER_PORT, ports.join(";").into());
            set(SERVER_STARTER_GENERATION, self.number.to_string().into());
        }
        if let Some(port) = self.port {
            set(PORT, port.to_string().into());
        }
        self.einhorn(&mut set);
        set(SOCKET_PROTECTOR_CHANNEL, self.channel_descriptor().to_string().into());
        set(SOCKET_PROTECTOR_GENERATION, self.number.to_string().into());
        set(SOCKET_PROTECTOR_LISTENERS, self.inherited().len().to_string().into());
        set(SOCKET_PROTECTOR_NAME, self.name.into());
        variables
    }

    /// einhorn's variables. A worker of its takes them for its own when its parent is the master that they name.
    fn einhorn(&self, set: &mut impl FnMut(&str, OsString)) {
        set("EINHORN_MASTER_PID", self.supervisor.to_string().into());
        set("EINHORN_SOCK_PATH", self.einhorn.into());
        set("EINHORN_CHILD_INDEX", "0".into());
        if self.pass == Pass::Listener {
            let fds = FIRST_LISTEN_FD..;
            let fds = fds.take(self.listeners.len()).map(|fd| fd.to_string()).collect::<Vec<_>>();
            set("EINHORN_FD_COUNT", fds.len().to_string().into());
            for (index, fd) in fds.iter().enumerate() {
                set(&format!("EINHORN_FD_{index}"), fd.into());
            }
            // Deprecated there, and the only one that some programs know.
            set("EINHORN_FDS", fds.join(" ").into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Given, starter_key, without_managers};
    use crate::net::endpoint::Listen;
    use crate::net::listener::Address;
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
            ("MAINPIDFDID", "7"),
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
            keys: &["127.0.0.1:80", "4322"],
            stored: &[],
            number: Number(7),
            name: "shop",
            notify: Path::new("/run/n"),
            einhorn: Path::new("/run/e"),
            supervisor: 42,
            watchdog: None,
            ready_descriptor: false,
            port: None,
        }
    }

    fn environment(given: &Given<'_>) -> Vec<(OsString, OsString)> {
        given.environment(&pairs(&[("A", "b")]))
    }

    #[test]
    fn every_convention_tells_of_the_same_sockets() {
        let expected = [
            ("A", "b"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDNAMES", "web:4322"),
            ("NOTIFY_SOCKET", "/run/n"),
            ("SERVER_STARTER_PORT", "127.0.0.1:80=3;4322=4"),
            ("SERVER_STARTER_GENERATION", "7"),
            ("EINHORN_MASTER_PID", "42"),
            ("EINHORN_SOCK_PATH", "/run/e"),
            ("EINHORN_CHILD_INDEX", "0"),
            ("EINHORN_FD_COUNT", "2"),
            ("EINHORN_FD_0", "3"),
            ("EINHORN_FD_1", "4"),
            ("EINHORN_FDS", "3 4"),
            ("SOCKET_PROTECTOR_CHANNEL", "5"),
            ("SOCKET_PROTECTOR_GENERATION", "7"),
            ("SOCKET_PROTECTOR_LISTENERS", "2"),
            ("SOCKET_PROTECTOR_NAME", "shop"),
        ];
        assert_eq!(environment(&given(Pass::Listener)), pairs(&expected));
    }

    #[test]
    fn sockets_are_announced_only_where_sockets_are_passed() {
        let expected = [
            ("A", "b"),
            ("NOTIFY_SOCKET", "/run/n"),
            ("EINHORN_MASTER_PID", "42"),
            ("EINHORN_SOCK_PATH", "/run/e"),
            ("EINHORN_CHILD_INDEX", "0"),
            ("SOCKET_PROTECTOR_CHANNEL", "3"),
            ("SOCKET_PROTECTOR_GENERATION", "7"),
            ("SOCKET_PROTECTOR_LISTENERS", "0"),
            ("SOCKET_PROTECTOR_NAME", "shop"),
        ];
        assert_eq!(environment(&given(Pass::Connections)), pairs(&expected));
    }

    #[test]
    fn nothing_that_we_set_could_be_taken_for_an_outer_managers() {
        let base = without_managers(environment(&given(Pass::Listener)).into_iter());
        assert_eq!(base, pairs(&[("A", "b")]));
    }

    #[test]
    fn server_starter_names_a_listener_as_it_was_given() {
        let at = |listen: &str, address| starter_key(&listen.parse::<Listen>().unwrap(), &address);
        let key = |listen: &str, port: u16| at(listen, Address::Internet(([127, 0, 0, 1], port).into()));
        assert_eq!(key("4321", 4321), "4321");
        assert_eq!(key("tcp:0", 4321), "4321");
        assert_eq!(key("127.0.0.1:80", 80), "127.0.0.1:80");
        assert_eq!(key("localhost:80", 80), "localhost:80");
        assert_eq!(key("[::1]:80", 80), "[::1]:80");
        assert_eq!(key("tcp6:80", 80), "[::]:80");
        assert_eq!(key("[fe80::1%eth0]:80", 80), "[fe80::1%eth0]:80");
        assert_eq!(key("udp:53", 53), "53");
        assert_eq!(key("fd:5", 80), "127.0.0.1:80");
        assert_eq!(at("fd:5", Address::Internet(([0, 0, 0, 0], 80).into())), "80");
        assert_eq!(at("unix:/run/a b.sock", Address::Path("/run/a b.sock".into())), "/run/a b.sock");
        assert_eq!(at("@web", Address::Abstract(b"web".to_vec())), "@web");
        assert_eq!(at("fd:5", Address::Unnamed), "unnamed");
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
        assert_eq!(value(&listener, "EINHORN_FDS"), "3 4");
        assert_eq!(value(&listener, "SERVER_STARTER_PORT"), "127.0.0.1:80=3;4322=4");
        let connections = all(Pass::Connections);
        assert_eq!(value(&connections, "LISTEN_FDS"), "2");
        assert_eq!(value(&connections, "SOCKET_PROTECTOR_LISTENERS"), "0");
        assert_eq!(value(&connections, "SOCKET_PROTECTOR_CHANNEL"), "5");
    }
}
