//! What outlives a daemon: connections given back with their state, and stored descriptors.

use super::*;

#[test]
fn a_state_comes_whole_or_stays_with_its_connection() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut clients = pass(&supervisor, 1);
        clients.push(pass_with_state(&supervisor, 1, b"a state"));
        Daemon::on(channel, &program, "states").ends("done\n");
        clients.iter_mut().for_each(answered);
    }
}

#[test]
fn an_empty_state_is_one_and_the_longest_fits() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let states = [&[][..], &[7; MAX_STATE], &[7; MAX_STATE]];
        let daemon = Daemon::on(channel, &program, "long_states");
        let mut clients = states.map(|state| pass_with_state(&supervisor, 0, state));
        drop(supervisor);
        daemon.ends("done\n");
        clients.iter_mut().for_each(answered);
    }
}

#[test]
fn a_connection_is_given_back_or_stays_the_callers() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut clients = pass(&supervisor, 3);
        let mut daemon = Daemon::on(channel, &program, "give");
        daemon.says("given 2");
        for expected in [
            FromChild::Hello { version: 1 },
            FromChild::Ready,
            FromChild::OpenConnections(3),
            FromChild::Status("tätig \u{fffd}".to_owned()),
        ] {
            assert_eq!(supervisor.heard(), Some(expected));
        }
        for (client, listener, state) in [(0, 3, b"so far".to_vec()), (1, 65_535, vec![0; MAX_STATE])] {
            let (record, sockets) = supervisor.heard_with_sockets().unwrap();
            assert_eq!(record, FromChild::GiveBack { listener, state });
            common::answers(Connection::new(sockets.into_iter().next().unwrap(), 0), &mut clients[client]);
        }
        drop(supervisor);
        daemon.ends("done\n");
        answered(&mut clients[2]);
    }
}

#[test]
fn with_a_full_channel_only_giving_back_waits() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "full");
        daemon.says("full 0");
        daemon.asleep();
        eventually(|| {
            let heard = supervisor.heard_with_sockets();
            matches!(heard, Some((FromChild::GiveBack { .. }, sockets)) if sockets.len() == 1)
        });
        daemon.ends("done\n");
    }
}

/// What comes to the socket of sd_notify(3): the text, and how many descriptors.
fn notified(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let (mut buffer, mut descriptors) = ([0; 256], Vec::new());
    let received = descriptors::receive(socket.as_fd(), &mut buffer, &mut descriptors, true).unwrap();
    (String::from_utf8(buffer[..received.bytes].to_vec()).unwrap(), descriptors)
}

#[test]
fn descriptors_are_taken_and_stored() {
    const LINE: &str = "LISTEN_FDS=3 LISTEN_PID=$$ LISTEN_FDNAMES=state:more:state SOCKET_PROTECTOR_LISTENERS=0 \
                        SOCKET_PROTECTOR_CHANNEL=9 exec \"$0\" \"$@\" 3<&0 4<&0 5<&0 9<&1 0</dev/null 1>&2";
    for program in in_c().into_iter().take(1) {
        let folder = own_folder();
        let path = folder.join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let line = format!("NOTIFY_SOCKET={} {LINE}", path.display());
        let (_supervisor, channel) = Supervisor::new();
        let input = std::fs::File::open("/dev/null").unwrap();
        let mut daemon = Daemon::start(&line, &program, "stored", input, channel);
        for (text, count) in [("FDSTORE=1\nFDNAME=kept", 2), ("FDSTOREREMOVE=1\nFDNAME=state", 0)] {
            let (said, sent) = notified(&socket);
            assert_eq!((said.as_str(), sent.len()), (text, count));
            let (said, barrier) = notified(&socket);
            assert_eq!((said.as_str(), barrier.len()), ("BARRIER=1", 1));
        }
        daemon.says("stored 2");
        daemon.ends("done\n");
        std::fs::remove_file(path).unwrap();
    }
}

/// A folder for this test binary.
fn own_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("notify-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_supervisor_that_never_reads_is_a_timeout_with_its_number() {
    for program in in_c().into_iter().take(1) {
        let (_supervisor, channel) = Supervisor::new();
        Daemon::on(channel, &program, "stuck").ends("done\n");
    }
}
