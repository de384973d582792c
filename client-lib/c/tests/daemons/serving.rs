//! Connections and listeners, errors and the end.

use super::*;

#[test]
fn null_is_an_error_and_no_crash() {
    for program in in_c() {
        Daemon::start(ALONE, &program, "null", Stdio::null(), Stdio::null()).ends("done\n");
    }
}

#[test]
fn without_a_supervisor_every_reason_has_its_number() {
    for program in in_c() {
        Daemon::start(ALONE, &program, "nobody", Stdio::null(), Stdio::null()).ends("done\n");
    }
}

#[test]
fn connections_are_served_until_the_drain() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "tell");
        daemon.says("web.1 12");
        hears(&supervisor, FromChild::Hello { version: 1 });
        hears(&supervisor, FromChild::Ready);
        for mut client in pass(&supervisor, 3) {
            answered(&mut client);
        }
        descriptors::send(supervisor.end.as_fd(), &[0x01, 0x07, 0, 0], &[]).unwrap();
        let mut last = pass(&supervisor, 1);
        assert_eq!(supervisor.heard(), None);
        drop(supervisor);
        answered(&mut last[0]);
        daemon
            .ends("listener 0\nlistener 1\nlistener 2\naccept EBADMSG\nlistener 0\naccept ESHUTDOWN\nclosed 1\ndone\n");
    }
}

#[test]
fn a_listener_is_served_until_the_drain() {
    for program in in_c() {
        let (listener, address) = listener();
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::start(LISTENER, &program, "tell", OwnedFd::from(listener), channel);
        daemon.says("web.1 12 web");
        for _ in 0..2 {
            answered(&mut TcpStream::connect(address).unwrap());
            daemon.says("listener 0");
        }
        drop(supervisor);
        daemon.ends("accept ESHUTDOWN\nclosed 2\ndone\n");
    }
}

#[test]
fn a_wrong_environment_is_told_by_errno() {
    for program in in_c() {
        let (_supervisor, channel) = Supervisor::new();
        let line = "SOCKET_PROTECTOR_CHANNEL=x exec \"$0\" \"$@\" 1>&2";
        Daemon::start(line, &program, "original", Stdio::null(), channel).ends("create EINVAL\ndone\n");
        let line = "SOCKET_PROTECTOR_CHANNEL=0 exec \"$0\" \"$@\" 1>&2";
        Daemon::start(line, &program, "original", Stdio::null(), Stdio::null()).ends("create ENOTSOCK\ndone\n");
        let line = "SOCKET_PROTECTOR_CHANNEL=99 exec \"$0\" \"$@\" 1>&2";
        Daemon::start(line, &program, "original", Stdio::null(), Stdio::null()).ends("create EBADF\ndone\n");
        let (_supervisor, channel) = Supervisor::new();
        let line = LISTENER.replace("$$", "1");
        let input = OwnedFd::from(listener().0);
        Daemon::start(&line, &program, "original", input, channel).ends("create EPERM\ndone\n");
    }
}

#[test]
fn a_signal_handler_ends_the_waiting() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let daemon = Daemon::on(channel, &program, "blocked");
        hears(&supervisor, FromChild::Hello { version: 1 });
        hears(&supervisor, FromChild::Ready);
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGTERM).unwrap();
        daemon.ends("accept ECANCELED\ndone\n");
    }
}

#[test]
fn a_signal_handler_ends_the_waiting_of_every_thread() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let daemon = Daemon::on(channel, &program, "threads");
        hears(&supervisor, FromChild::Hello { version: 1 });
        for mut client in pass(&supervisor, 2) {
            answered(&mut client);
        }
        daemon.asleep();
        kill(daemon.pid(), Signal::SIGTERM).unwrap();
        daemon.ends("canceled 2\ndone\n");
    }
}

#[test]
fn what_was_read_is_served_before_the_end() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut clients = pass(&supervisor, 3);
        clients.append(&mut pass(&supervisor, 1));
        let _unread = pass(&supervisor, 1);
        Daemon::on(channel.try_clone().unwrap(), &program, "order").ends("left 2\ndone\n");
        clients.iter_mut().for_each(answered);
        // What it did not read is there for the next generation.
        let mut taken = Vec::new();
        let received = descriptors::receive(channel.as_fd(), &mut [0; 64], &mut taken, false).unwrap();
        assert_eq!((received.bytes, taken.len()), (4, 1));
    }
}

#[test]
fn one_descriptor_tells_an_event_loop_of_everything() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut daemon = Daemon::on(channel, &program, "polled");
        daemon.says("empty 0");
        pass(&supervisor, 2).iter_mut().for_each(answered);
        daemon.says("empty 1");
        drop(supervisor);
        daemon.ends("done\n");
        let (_supervisor, channel) = Supervisor::new();
        Daemon::on(channel, &program, "rung").ends("done\n");
    }
}

#[test]
fn without_descriptors_connections_wait() {
    for program in in_c() {
        let (supervisor, channel) = Supervisor::new();
        let mut waiting = pass(&supervisor, 1);
        drop(supervisor);
        Daemon::on(channel, &program, "few").ends("done\n");
        answered(&mut waiting[0]);
    }
}

#[test]
fn a_listener_of_its_own_serves() {
    for program in in_c() {
        let (listener, address) = listener();
        let daemon = Daemon::start(ALONE, &program, "standalone", OwnedFd::from(listener), Stdio::null());
        (0..2).for_each(|_| answered(&mut TcpStream::connect(address).unwrap()));
        daemon.ends("done\n");
    }
}
