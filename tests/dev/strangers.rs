//! Who listens at the server's port: one of its own processes, or another one, as for a container.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::stage::{Proxy, Setup};
use crate::harness::process::{Exit, send};
use crate::harness::{eventually, trials};

trials![
    an_answer_of_another_process_does_not_count_and_is_named_once,
    one_who_listens_for_a_container_answers_for_the_server,
    a_daemon_that_listens_for_the_server_answers_for_it,
    a_server_whose_port_somebody_takes_before_it_has_failed,
    a_port_that_is_free_a_moment_after_the_server_is_waited_for,
    a_port_that_stays_taken_after_the_server_is_refused_with_the_holder,
];

/// What starts a container and waits for it, as far as can be seen from outside.
const LAUNCHER: [&str; 3] = ["sh", "-c", "touch ../begun; sleep 1000"];

fn wait_begun(proxy: &Proxy) {
    eventually("the server runs", || proxy.scene.path("begun").exists());
}

/// Answers every request with this text, until a connection comes after it was told to leave.
fn answer(listener: TcpListener, text: &'static str) -> Leaves {
    let leaves = Arc::new(AtomicBool::new(false));
    let is_to_leave = Arc::clone(&leaves);
    let thread = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if is_to_leave.load(Ordering::SeqCst) {
                return;
            }
            let _ = stream.read(&mut [0; 4096]);
            let length = text.len();
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes());
        }
    });
    Leaves { leaves, thread }
}

struct Leaves {
    leaves: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Leaves {
    /// It leaves at the next connection.
    fn soon(&self) {
        self.leaves.store(true, Ordering::SeqCst);
    }

    fn gone(self) {
        self.thread.join().unwrap();
    }

    /// It leaves now.
    fn leave(self, port: u16) {
        self.soon();
        let _ = TcpStream::connect(("127.0.0.1", port));
        self.gone();
    }
}

fn an_answer_of_another_process_does_not_count_and_is_named_once() {
    let setup = Setup::new().fixed().with(&["--hold-timeout", "2s", "--ready-timeout", "300s"]);
    let web = setup.web("web");
    let proxy = setup.shell("touch ../begun; while [ ! -e ../go ]; do sleep 0.01; done; exec $WEB").start();
    wait_begun(&proxy);
    let mut stranger = proxy.scene.mark(Command::new(&web[0]).args(&web[1..])).spawn().unwrap();
    let name = format!("(pid {}), which is not our server: --ready-from anyone takes its answers", stranger.id());
    proxy.wait_said(&name);
    assert_eq!(proxy.get("/").0, 504, "it waits for the server, and in vain");
    assert_eq!(proxy.said().matches(&name).count(), 1);
    // Once the port is free the server gets it, and answers for itself.
    send(Pid::from_raw(i32::try_from(stranger.id()).unwrap()), Signal::SIGTERM);
    stranger.wait().unwrap();
    proxy.scene.write("go", "");
    proxy.wait_version("1");
}

fn one_who_listens_for_a_container_answers_for_the_server() {
    let setup = Setup::new().fixed().with(&["--stop-timeout", "1s", "--ready-from", "anyone"]);
    let web = setup.web("web");
    let mut proxy = setup.command(&LAUNCHER).start();
    wait_begun(&proxy);
    let mut stranger = proxy.scene.mark(Command::new(&web[0]).args(&web[1..])).spawn().unwrap();
    proxy.wait_version("1");
    let pid = i32::try_from(stranger.id()).unwrap();
    proxy.wait_said(&format!("(pid {pid}), which is none of the server's processes"));
    assert_eq!(proxy.said().matches("which is none of").count(), 1);
    // It ends with the container, which is nothing that we do.
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait_exit(), Exit::Code(143));
    assert!(stranger.try_wait().unwrap().is_none(), "it is left alone");
    send(Pid::from_raw(pid), Signal::SIGTERM);
    stranger.wait().unwrap();
    proxy.nothing_left();
}

fn a_daemon_that_listens_for_the_server_answers_for_it() {
    let setup = Setup::new().fixed().with(&["--ready-from", "anyone"]);
    let port = setup.port();
    let proxy = setup.command(&LAUNCHER).start();
    wait_begun(&proxy);
    // This process, which is older than the server.
    let daemon = answer(TcpListener::bind(("127.0.0.1", port)).unwrap(), "container");
    assert_eq!(proxy.get("/"), (200, "container".into()));
    proxy.wait_said("which is none of the server's processes");
    daemon.leave(port);
}

fn a_server_whose_port_somebody_takes_before_it_has_failed() {
    let setup = Setup::new().fixed();
    let port = setup.port();
    // It answers nobody before the server has ended, so that this is what is known first.
    let proxy = setup.shell("touch ../begun; while [ ! -e ../go ]; do sleep 0.01; done; exec $WEB").start();
    wait_begun(&proxy);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    proxy.scene.write("go", "");
    eventually("it has failed", || proxy.get("/").0 == 503);
    let stranger = answer(listener, "stranger");
    assert_eq!(proxy.get("/").0, 503, "an answer of somebody else changes nothing then");
    stranger.leave(port);
}

/// A server that is followed by another one, whose port somebody else has had for it.
fn followed(setup: Setup) -> Proxy {
    let setup = setup.with(&["--ready-from", "anyone"]);
    let proxy = setup.shell("if [ -e ../begun ]; then exec $WEB; fi; touch ../begun; sleep 1000").start();
    wait_begun(&proxy);
    proxy
}

fn a_port_that_is_free_a_moment_after_the_server_is_waited_for() {
    let setup = Setup::new().fixed();
    let port = setup.port();
    let proxy = followed(setup);
    let stranger = answer(TcpListener::bind(("127.0.0.1", port)).unwrap(), "old");
    assert_eq!(proxy.get("/").1, "old");
    let first = proxy.servers();
    // It is there still when it is looked for after the first server has gone, and goes then.
    proxy.change("2");
    eventually("the first server has gone", || !proxy.servers().iter().any(|pid| first.contains(pid)));
    stranger.soon();
    stranger.gone();
    proxy.wait_version("2");
}

fn a_port_that_stays_taken_after_the_server_is_refused_with_the_holder() {
    let setup = Setup::new().fixed();
    let port = setup.port();
    let proxy = followed(setup);
    let stranger = answer(TcpListener::bind(("127.0.0.1", port)).unwrap(), "old");
    assert_eq!(proxy.get("/").1, "old");
    proxy.change("2");
    proxy.wait_said(&format!("127.0.0.1:{port} is taken by"));
    assert!(proxy.said().contains(&format!("(pid {})", std::process::id())), "{}", proxy.said());
    let (status, body) = proxy.get("/");
    assert_eq!(status, 503, "{body}");
    stranger.leave(port);
    proxy.change("3");
    proxy.wait_version("3");
}
