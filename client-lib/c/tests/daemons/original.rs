//! The original: under its supervisor, and daemons that were written for it.

use super::*;

/// The original's supervisor, on a port for each test: the name is the whole machine's.
struct Original {
    socket: OwnedFd,
}

impl Original {
    fn at(port: u16) -> Original {
        let mut name = format!("sock_srv_{port}").into_bytes();
        name.resize(107, 0);
        let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(&name).unwrap()).unwrap();
        listen(&socket, Backlog::new(1).unwrap()).unwrap();
        Original { socket }
    }

    /// The channel of the child that connects.
    #[allow(unsafe_code, reason = "nix accepts to a number")]
    fn child(&self) -> OwnedFd {
        let number = accept(self.socket.as_raw_fd()).unwrap();
        // SAFETY: it is new, and nobody else's.
        unsafe { OwnedFd::from_raw_fd(number) }
    }
}

/// Its message: a byte and a descriptor.
fn pass_as_original(channel: &OwnedFd) -> TcpStream {
    let (client, server) = clients(1).remove(0);
    descriptors::send(channel.as_fd(), b"x", &[server.as_fd()]).unwrap();
    client
}

#[test]
fn it_runs_under_the_original_too() {
    let original = Original::at(4321);
    for program in in_c() {
        let start = || Daemon::start(ALONE, &program, "original", Stdio::null(), Stdio::null());
        // Drained by the end of file: what is there comes first.
        let mut daemon = start();
        let channel = original.child();
        daemon.says("sock_srv_4321");
        let mut clients: Vec<TcpStream> = (0..3).map(|_| pass_as_original(&channel)).collect();
        clients.iter_mut().for_each(answered);
        let mut last = pass_as_original(&channel);
        drop(channel);
        answered(&mut last);
        daemon.ends("accept ESHUTDOWN\nterminated 0\ndraining 1\ngive back ENOTCONN\ndone\n");
        // By a byte without a descriptor.
        let mut daemon = start();
        let channel = original.child();
        daemon.says("sock_srv_4321");
        descriptors::send(channel.as_fd(), b"x", &[]).unwrap();
        daemon.ends("accept ESHUTDOWN\nterminated 0\ndraining 0\ngive back ENOTCONN\ndone\n");
        // By a signal.
        let mut daemon = start();
        let _channel = original.child();
        daemon.says("sock_srv_4321");
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGTERM).unwrap();
        daemon.ends("accept ECANCELED\nterminated 1\ndraining 0\ngive back ENOTCONN\ndone\n");
    }
}

#[test]
fn ours_is_preferred_and_the_port_then_of_no_importance() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "original");
        daemon.says("web.1");
        pass(&supervisor, 1).iter_mut().for_each(answered);
        drop(supervisor);
        daemon.ends("accept ESHUTDOWN\nterminated 0\ndraining 1\ngive back EPIPE\ndone\n");
    }
}

fn tells(mut client: &TcpStream, daemon: &mut Daemon) {
    daemon.says("new connection");
    client.write_all(b"Hello, World\n").unwrap();
    daemon.says("Hello, World");
    client.shutdown(Shutdown::Both).unwrap();
    daemon.says("end of connection");
}

#[test]
fn a_daemon_of_the_original_needs_no_change() {
    for program in of_the_original() {
        // Connections passed by ours.
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "4321");
        daemon.says("port 4321");
        tells(&pass(&supervisor, 1)[0], &mut daemon);
        drop(supervisor);
        daemon.ends("ended, drained\n");
        // A listener passed by ours; then a signal.
        let (listener, address) = listener();
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::start(LISTENER, &program, "4321", OwnedFd::from(listener), channel);
        daemon.says("port 4321");
        tells(&TcpStream::connect(address).unwrap(), &mut daemon);
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGINT).unwrap();
        daemon.ends("ended, terminated\n");
        drop(supervisor);
        // Under its own supervisor.
        let original = Original::at(4322);
        let mut daemon = Daemon::start(ALONE, &program, "4322", Stdio::null(), Stdio::null());
        let channel = original.child();
        daemon.says("port 4322");
        tells(&pass_as_original(&channel), &mut daemon);
        drop(channel);
        daemon.ends("ended, drained\n");
        // Under none.
        drop(original);
        let daemon = Daemon::start(ALONE, &program, "4322", Stdio::null(), Stdio::null());
        daemon.ends("port 4322\nended, terminated\n");
    }
}
