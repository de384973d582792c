//! What socketproxy, the program of old, says of itself in its README, in its order and by the command line. What each line
//! leaves open is tried in the other files.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::place::{Destination, Place, Talk, read};
use crate::harness::island::{ISLAND, on_an_island};
use crate::harness::process::Exit;
use crate::harness::ran::Running;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, eventually, trials_with, until};
use nix::sys::signal::Signal;
use serde_json::Value;

trials_with![ISLAND => what_socketproxy_says_of_itself_is_so_line_by_line];

/// The commands of somebody who has typed no option but those of the README.
struct User {
    place: Place,
}

impl User {
    fn server(&self, arguments: &[&str]) -> Running {
        self.place.scene.begin(&[&["session", "server"], arguments].concat())
    }

    /// A client with a state file of that name, as of another user.
    fn client(&self, state: &str, arguments: &[&str]) -> Talk {
        let mut command = Command::new(binary());
        self.place.scene.mark(&mut command).args(["session", "client"]).args(arguments);
        command.arg("--state").arg(self.place.scene.path(state));
        self.place.start(command)
    }

    /// One client after the other, each with one Enter, until all this was printed.
    fn polls_until(&self, state: &str, wanted: &str) {
        let mut seen = String::new();
        until("it is printed", PATIENCE, || {
            let mut client = self.client(state, &[]);
            client.say("\n");
            seen += &client.end().expect(0).text();
            if seen == wanted { Ok(()) } else { Err(seen.clone()) }
        });
    }

    fn sessions(&self, arguments: &[&str]) -> Vec<Value> {
        let words = [&["session", "status", "--json"], arguments].concat();
        self.place.scene.cli(&words).expect(0).json()["sessions"].as_array().unwrap().clone()
    }
}

fn listens(address: &str) {
    eventually("it listens", || TcpStream::connect(address).is_ok());
}

fn what_socketproxy_says_of_itself_is_so_line_by_line() {
    on_an_island(|| {
        let destination = Destination::new();
        let mut place = Place::new(&destination.endpoint());
        place.kill_server();
        let user = User { place };

        // "server [--proxy=HOST:PORT] DESTHOST:DESTPORT": in the foreground, at localhost:9009 if nothing else is said.
        let mut server = user.server(&[&destination.endpoint()]);
        listens("127.0.0.1:9009");
        assert!(server.runs() && user.sessions(&[]).is_empty() && destination.is_alone());

        // A client that connects gets a session of its own, with a connection of its own to the destination.
        let mut one = user.client("one", &[]);
        one.say("from one\n");
        let mut to_one = destination.accept();
        assert_eq!(read(&mut to_one, 10), "from one\r\n");
        let mut two = user.client("two", &[]);
        two.say("from two\n");
        let mut to_two = destination.accept();
        assert_eq!(read(&mut to_two, 10), "from two\r\n");

        // It has a unique ID, and a secret.
        let kept = ["one", "two"].map(|state| user.place.scene.read(state));
        assert!(kept[0] != kept[1] && kept.iter().all(|kept| kept.contains("sks_")), "{}", kept.len());

        // The client goes; the session and the connection stay, and what the destination says is kept.
        one.end().expect(0);
        two.end().expect(0);
        to_one.write_all(b"for one\n").unwrap();
        to_two.write_all(b"for two\n").unwrap();
        let buffered = || user.sessions(&[]).iter().filter(|session| session["buffered"] == 8).count();
        eventually("both are kept", || buffered() == 2);

        // "status" shows the sessions, and whether somebody is connected.
        let ids: Vec<_> = user.sessions(&[]).iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect();
        assert_ne!(ids[0], ids[1]);
        let table = user.place.scene.cli(&["session", "status"]).expect(0).out;
        assert!(ids.iter().all(|id| table.contains(id.as_str())) && table.contains("detached"), "{table}");

        // The right ID with a secret that is not its own gets nothing.
        let (right, wrong) = (secret(&kept[0]), secret(&kept[1]));
        user.place.scene.write("thief", &kept[0].replace(right, wrong));
        std::fs::set_permissions(user.place.scene.path("thief"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let mut thief = user.client("thief", &[]);
        thief.say("\n");
        let stolen = thief.end();
        assert!(stolen.exit != Exit::Code(0) && stolen.out.is_empty(), "{stolen:?}");
        assert_eq!(buffered(), 2);

        // With both it is resumed, and what was kept is sent: each Enter is one new connection that polls.
        user.polls_until("one", "for one\n");
        user.polls_until("two", "for two\n");
        let mut client = user.client("one", &[]);
        for words in ["at the first Enter\n", "at the next\n"] {
            let epoch = user.sessions(&[]).iter().map(|session| session["epoch"].as_u64().unwrap()).sum::<u64>();
            to_one.write_all(words.as_bytes()).unwrap();
            eventually("it is printed", || {
                client.say("\n");
                String::from_utf8(client.out()).unwrap().ends_with(words)
            });
            let now = user.sessions(&[]).iter().map(|session| session["epoch"].as_u64().unwrap()).sum::<u64>();
            assert!(now > epoch, "another connection");
        }
        client.end().expect(0);
        assert!(destination.is_alone(), "the connections are the first ones");

        // Management: a session is closed.
        user.place.scene.cli(&["session", "close", &ids[0]]).expect(0);
        assert_eq!(user.sessions(&[]).len(), 1);

        // It is a daemon of whoever starts it: it ends when it is asked to.
        nix::sys::signal::kill(server.pid(), Signal::SIGKILL).unwrap();
        eventually("it is gone", || !server.runs());

        // Host and port have defaults of their own.
        for (proxy, address) in [(":7007", "127.0.0.1:7007"), ("localhost", "127.0.0.1:9009")] {
            let proxy = format!("--proxy={proxy}");
            let mut server = user.server(&[&proxy, &destination.endpoint()]);
            listens(address);
            assert!(user.sessions(&[&proxy]).is_empty());
            nix::sys::signal::kill(server.pid(), Signal::SIGTERM).unwrap();
            eventually("it is gone", || !server.runs());
        }

        // The handshake does not wait for the destination: here nobody accepts, and the backlog is full.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::listen(&silent, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let address = silent.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let _full: Vec<_> = (0..8).map_while(connect).collect();
        let _server = user.server(&["--connect-timeout=1h", &address.to_string()]);
        listens("127.0.0.1:9009");
        let mut early = user.client("early", &[]);
        early.say("\n");
        early.end().expect(0);
        assert_eq!(user.sessions(&[])[0]["destination"], "connecting");
        user.place.scene.clear();
    });
}

fn secret(state: &str) -> &str {
    let at = state.find("sks_").unwrap();
    state[at..].split(|letter: char| !(letter.is_ascii_alphanumeric() || "_-".contains(letter))).next().unwrap()
}
