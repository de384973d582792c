//! A destination, a server of sessions, a gateway, and a client's session.

use super::http::{Answer, Client};
use crate::harness::process::{self, Census, Exit, send};
use crate::harness::scene::binary;
use crate::harness::unix::connections_to;
use crate::harness::{PATIENCE, Scene, eventually, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// A byte of the pattern that everything is compared with.
pub(super) fn pattern(from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Where sessions lead: each connection is given to the trial.
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    connections: Receiver<TcpStream>,
}

impl Destination {
    pub(super) fn new() -> Destination {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = channel();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Destination { address, connections }
    }

    /// The next connection.
    #[track_caller]
    pub(super) fn accept(&self) -> TcpStream {
        let stream = self.connections.recv_timeout(PATIENCE).expect("the destination is connected to");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Nobody else has connected.
    #[track_caller]
    pub(super) fn expect_no_more(&self) {
        assert!(self.connections.try_recv().is_err(), "the destination was connected to again");
    }
}

/// Reads exactly so many bytes.
#[track_caller]
pub(super) fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// One of our programs in the foreground.
pub(super) struct Daemon {
    child: Option<Child>,
    name: String,
    scene: Arc<Scene>,
}

impl Daemon {
    pub(super) fn start(scene: &Arc<Scene>, name: &str, arguments: &[&str]) -> Daemon {
        let log = OpenOptions::new().append(true).create(true).open(scene.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(binary());
        command.arg("-vv").args(arguments).args(["--name", name]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = Some(scene.mark(&mut command).spawn().unwrap());
        Daemon { child, name: name.to_owned(), scene: Arc::clone(scene) }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().unwrap().id().cast_signed())
    }

    /// Waits until it answers, and gives its status.
    #[track_caller]
    pub(super) fn status(&self) -> Value {
        until("it answers", PATIENCE, || {
            let ran = self.scene.cli(&["status", &self.name, "--json"]);
            if ran.exit == Exit::Code(0) { Ok(ran.json()) } else { Err(ran.err) }
        })
    }

    pub(super) fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Ends it by this signal and gives the code that it ends with, if it does so by itself.
    pub(super) fn end(mut self, signal: Signal) -> Option<i32> {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Everything together.
pub(super) struct Stage {
    pub(super) gateway: Option<Daemon>,
    pub(super) server: Daemon,
    pub(super) address: SocketAddr,
    pub(super) destination: Destination,
    pub(super) scene: Arc<Scene>,
}

/// A session as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) bearer: String,
}

impl Session {
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v1/sessions/{}{rest}", self.id)
    }

    pub(super) fn header(&self) -> (&'static str, &str) {
        ("Authorization", &self.bearer)
    }
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage::with(&[], &[])
    }

    /// With options for the server and for the gateway.
    pub(super) fn with(server: &[&str], web: &[&str]) -> Stage {
        let destination = Destination::new();
        Stage::leading_to(destination.address, destination, (server, web))
    }

    /// The same with sessions that lead to this address, and not to a destination of the trial.
    pub(super) fn to(address: SocketAddr, server: &[&str], web: &[&str]) -> Stage {
        Stage::leading_to(address, Destination::new(), (server, web))
    }

    fn leading_to(to: SocketAddr, destination: Destination, (server, web): (&[&str], &[&str])) -> Stage {
        let scene = Scene::new();
        let proxy = format!("--proxy=unix:{}", scene.path("server.sessions").display());
        let address = to.to_string();
        // The pattern has telnet's commands in it.
        let arguments = [&["session", "server", "--telnet=off", &proxy, &address], server].concat();
        let server = Daemon::start(&scene, "server", &arguments);
        server.status();
        let mut stage = Stage { gateway: None, server, address: ([127, 0, 0, 1], 0).into(), destination, scene };
        stage.start_gateway(web);
        stage
    }

    /// Starts a gateway where the last one was.
    pub(super) fn start_gateway(&mut self, options: &[&str]) {
        let gateway = self.another("web", self.address, options);
        self.address = address(&gateway);
        self.gateway = Some(gateway);
    }

    /// Starts a gateway.
    pub(super) fn another(&self, name: &str, at: SocketAddr, options: &[&str]) -> Daemon {
        let proxy = format!("--proxy=unix:{}", self.scene.path("server.sessions").display());
        let listen = format!("--listen={at}");
        let gateway = Daemon::start(&self.scene, name, &[&["session", "web", &proxy, &listen], options].concat());
        gateway.status();
        gateway
    }

    pub(super) fn web(&self) -> &Daemon {
        self.gateway.as_ref().unwrap()
    }

    /// A connection to the gateway.
    #[track_caller]
    pub(super) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request by a connection of its own.
    #[track_caller]
    pub(super) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.client().ask(method, path, headers, body)
    }

    /// Makes a session.
    #[track_caller]
    pub(super) fn session(&self) -> Session {
        let answer = self.ask("POST", "/v1/sessions", &[("Content-Type", "application/json")], b"{}");
        assert_eq!(answer.status, 201, "{answer:?}");
        let said = answer.json();
        let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}")).to_owned();
        Session { id: text("id"), bearer: format!("Bearer {}", text("secret")) }
    }

    /// Makes a session, and the connection of the destination's.
    #[track_caller]
    pub(super) fn open(&self) -> (Session, TcpStream) {
        let session = self.session();
        let stream = self.destination.accept();
        (session, stream)
    }

    /// Something about a session.
    #[track_caller]
    pub(super) fn get(&self, session: &Session, rest: &str) -> Answer {
        self.ask("GET", &session.path(rest), &[session.header()], b"")
    }

    #[track_caller]
    pub(super) fn post(&self, session: &Session, rest: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers = [&[session.header()], headers].concat();
        self.ask("POST", &session.path(rest), &headers, body)
    }

    #[track_caller]
    pub(super) fn input(&self, session: &Session, offset: u64, body: &[u8]) -> Answer {
        let headers = [("Content-Type", "application/octet-stream"), ("Stream-Offset", &offset.to_string())];
        self.post(session, "/input", &headers, body)
    }

    /// Waits until the gateway has no connection but those that the trial holds.
    #[track_caller]
    pub(super) fn wait_connections(&self, count: u64) {
        eventually("the gateway has so many connections", || self.web().status()["connections"] == count);
    }

    /// What the gateway holds once nobody reads any more.
    #[track_caller]
    pub(super) fn census(&self) -> Census {
        until("nobody reads", PATIENCE, || {
            let status = self.web().status();
            if status["connections"] == 0 && status["readers"] == 0 { Ok(()) } else { Err(status.to_string()) }
        });
        let socket = self.scene.path("run").join("web.sock");
        eventually("nobody asks it anything", || connections_to(&socket) == 0);
        process::census(self.web().pid())
    }
}

/// Where a gateway listens.
#[track_caller]
pub(super) fn address(gateway: &Daemon) -> SocketAddr {
    gateway.status()["listeners"][0]["address"].as_str().unwrap().parse().unwrap()
}
