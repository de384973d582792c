//! Everything between a destination and a browser: a session server, a gateway, and the browser with the page in it.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use crate::harness::browser::Browser;
use crate::harness::process::send;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, until};

/// The terminal's text, as it is drawn.
const SCREEN: &str = "return [...document.querySelectorAll('.xterm-rows > div')]
    .map((row) => row.textContent.replace(/\\u00a0/g, ' ').trimEnd()).join('\\n').trimEnd()";

/// Where the page has come to.
pub(super) struct Stage {
    pub(super) browser: Browser,
    gateway: Option<Daemon>,
    server: Option<Daemon>,
    gateway_place: Place,
    server_place: Place,
    scene: Arc<Scene>,
}

/// An address that is ours, whether or not somebody listens there: a gateway that is started again has the same, or its
/// page would be another's.
struct Place {
    address: SocketAddr,
    _held: Socket,
}

impl Place {
    /// Bound and not listening, the socket keeps others away, and not those who are told to listen just there.
    fn new(at: Ipv4Addr) -> Place {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from((at, 0)).into()).unwrap();
        Place { address: held.local_addr().unwrap().as_socket().unwrap(), _held: held }
    }
}

/// One of our programs in the foreground, with its log in the scene.
struct Daemon(Child);

impl Daemon {
    fn start(scene: &Scene, name: &str, arguments: &[&str]) -> Daemon {
        let log: File = OpenOptions::new().append(true).create(true).open(scene.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(binary());
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Daemon(scene.mark(&mut command).spawn().unwrap())
    }

    /// Waits until it listens there.
    #[track_caller]
    fn wait_listening(&mut self, address: SocketAddr) {
        until("it listens", PATIENCE, || {
            assert!(self.0.try_wait().unwrap().is_none(), "it has ended instead of listening at {address}");
            TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
        });
    }

    fn end(mut self, signal: Signal) {
        send(Pid::from_raw(self.0.id().cast_signed()), signal);
        self.0.wait().unwrap();
    }
}

impl Stage {
    /// Sessions of this destination, and an empty browser.
    pub(super) fn new(destination: SocketAddr) -> Stage {
        Stage::with(destination, &[])
    }

    /// The same with options for the session server.
    pub(super) fn with(destination: SocketAddr, options: &[&str]) -> Stage {
        Stage::at(Ipv4Addr::LOCALHOST, destination, options)
    }

    /// The same with the gateway at this address of the host.
    pub(super) fn at(gateway: Ipv4Addr, destination: SocketAddr, options: &[&str]) -> Stage {
        let scene = Scene::new();
        let (server_place, gateway_place) = (Place::new(Ipv4Addr::LOCALHOST), Place::new(gateway));
        let (proxy, destination) = (format!("--proxy={}", server_place.address), destination.to_string());
        let arguments = [&["session", "server", &proxy], options, &[&destination]].concat();
        let mut server = Daemon::start(&scene, "server", &arguments);
        server.wait_listening(server_place.address);
        let browser = Browser::start(&scene);
        let mut stage = Stage { browser, gateway: None, server: Some(server), gateway_place, server_place, scene };
        stage.start_gateway();
        stage
    }

    /// Starts a gateway where the last one was.
    pub(super) fn start_gateway(&mut self) {
        let address = self.gateway_place.address;
        let (proxy, listen) = (format!("--proxy={}", self.server_place.address), format!("--listen={address}"));
        let clear: &[&str] = if address.ip().is_loopback() { &[] } else { &["--insecure"] };
        let arguments = [&["session", "web", &proxy, &listen], clear].concat();
        let mut gateway = Daemon::start(&self.scene, "gateway", &arguments);
        gateway.wait_listening(address);
        self.gateway = Some(gateway);
    }

    /// Kills the gateway.
    pub(super) fn kill_gateway(&mut self) {
        self.gateway.take().unwrap().end(Signal::SIGKILL);
    }

    /// An address of a page.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway_place.address)
    }

    pub(super) fn gateway(&self) -> SocketAddr {
        self.gateway_place.address
    }

    /// Opens the terminal page and waits until it is live.
    #[track_caller]
    pub(super) fn open(&self, path: &str) {
        self.browser.open(&self.url(path));
        self.wait_phase("live");
    }

    /// Waits until the page is in this phase.
    #[track_caller]
    pub(super) fn wait_phase(&self, phase: &str) {
        until(&format!("the page is {phase}"), PATIENCE, || {
            let now = self.browser.run("return document.body.dataset.phase");
            if now == phase { Ok(()) } else { Err(format!("{now}, {:?}", self.screen())) }
        });
    }

    /// What can be seen in the terminal.
    #[track_caller]
    pub(super) fn screen(&self) -> String {
        self.browser.run(SCREEN).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the terminal shows what satisfies; all that it shows.
    #[track_caller]
    pub(super) fn wait_screen(&self, what: &str, satisfies: impl Fn(&str) -> bool) -> String {
        until(&format!("the terminal shows {what}"), PATIENCE, || {
            let screen = self.screen();
            if satisfies(&screen) { Ok(screen) } else { Err(screen) }
        })
    }

    /// Waits until the terminal shows a line that ends so.
    #[track_caller]
    pub(super) fn wait_line(&self, end: &str) -> String {
        self.wait_screen(end, |screen| screen.lines().any(|line| line.trim_end().ends_with(end)))
    }

    /// Whether a box is checked or a button cannot be pressed.
    #[track_caller]
    pub(super) fn is(&self, selector: &str, property: &str) -> bool {
        let value = self.browser.run(&format!("return document.querySelector({selector:?}).{property}"));
        value.as_bool().unwrap_or_else(|| panic!("{selector}.{property} is {value}"))
    }

    /// The console was told of nothing that the page's policy forbids, and of no error in a script.
    #[track_caller]
    pub(super) fn expect_quiet_console(&self) {
        let bad =
            |text: &str| ["Content Security Policy", "Uncaught", "violates"].iter().any(|word| text.contains(word));
        let told: Vec<_> = self.browser.console().into_iter().filter(|message| bad(message)).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for daemon in [self.gateway.take(), self.server.take()].into_iter().flatten() {
            daemon.end(Signal::SIGKILL);
        }
    }
}
