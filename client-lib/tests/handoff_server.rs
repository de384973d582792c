//! The server: its place in the file system, who may come, and what they are given.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/files.rs"]
mod files;
mod needs;

use files::{Files, identity};
use needs::needs;
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, Uid, fork, gettid, setuid};
use socket_protector_client::handoff::{self, Error, Receiver, Sender, Sequence, Server};
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

/// Identities and metadata.
type Given = Vec<((u64, u64), Vec<u8>)>;

/// All that is given at a path.
fn receive(path: &Path) -> Result<Given, Error> {
    let mut all = Vec::new();
    handoff::receive(path, |descriptor, metadata| {
        all.push((identity(&descriptor), metadata.to_vec()));
        Ok(())
    })?;
    Ok(all)
}

/// Ends the server also when the test fails, which would otherwise wait for it.
struct Stop<'a>(&'a Server);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Serves while `clients` runs; what failed.
fn serving<T>(server: &Server, sequence: &mut Sequence<'_>, clients: impl FnOnce() -> T) -> (T, Vec<Error>) {
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut failures = Vec::new();
            server.serve(sequence, |error| failures.push(error)).map(|()| failures)
        });
        let stop = Stop(server);
        let answer = clients();
        drop(stop);
        (answer, serving.join().unwrap().unwrap())
    })
}

#[test]
fn every_client_is_given_the_whole_sequence_in_its_order() {
    let files = Files::new(400);
    let path = files.path("server");
    let tcp = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connection = UnixStream::pair().unwrap().0;
    let mut expected = vec![
        (identity(&*tcp), b"listener".to_vec()),
        (identity(&udp), b"datagrams".to_vec()),
        (identity(&connection), Vec::new()),
    ];
    let mut sequence = Sequence::new().push(Arc::clone(&tcp), "listener").push(&udp, "datagrams").push(connection, "");
    for file in files.iter() {
        sequence = sequence.push(file, [7; 100]);
        expected.push((identity(file), vec![7; 100]));
    }
    let server = Server::bind(&path).unwrap();
    let (_, failures) = serving(&server, &mut sequence, || {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| receive(&path).unwrap())).collect();
            assert!(clients.into_iter().all(|client| client.join().unwrap() == expected));
        });
    });
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn what_precedes_a_callback_is_on_its_way_when_it_is_called() {
    let files = Files::new(0);
    let path = files.path("server");
    let server = Server::bind(&path).unwrap();
    let file = File::open("/dev/null").unwrap();
    let (tell, told) = mpsc::channel();
    let (answer, answered) = mpsc::channel();
    let call = move || {
        tell.send(()).unwrap();
        answered.recv().unwrap()
    };
    let mut sequence = Sequence::new().push(&file, "before").call(call).push(&file, "after");
    thread::scope(|scope| {
        let server = &server;
        let serving = scope.spawn(move || server.serve(&mut sequence, |error| panic!("{error:?}")));
        let stream = UnixStream::connect(&path).unwrap();
        told.recv().unwrap();
        // The server is in the callback, and sends nothing.
        let mut receiver = Receiver::new();
        let mut metadata = Vec::new();
        let mut take = |_, found: &[u8]| {
            metadata.push(found.to_vec());
            Ok(())
        };
        assert_eq!(receiver.receive_from(&stream, &mut take).unwrap(), 1);
        let none = Receiver::new().time_limit(Some(Duration::ZERO)).receive_from(&stream, |_, _| Ok(()));
        assert!(none.unwrap_err().is_timeout());
        answer.send(ControlFlow::Break(())).unwrap();
        assert_eq!(receiver.receive_all_from(&stream, &mut take).unwrap(), 1);
        assert_eq!(metadata, [&b"before"[..], b"after"]);
        // It was told to take no further client.
        serving.join().unwrap().unwrap();
    });
}

/// As many clients as are served at a time, each of which may take for ever, and none takes anything.
#[test]
fn a_server_that_is_stopped_does_not_wait_for_ever() {
    let files = Files::new(1);
    let path = files.path("server");
    let options = Server::options().time_limit(None).stop_limit(Some(Duration::from_millis(20)));
    let server = Arc::new(options.bind(&path).unwrap());
    let file = files[0].try_clone().unwrap();
    let (tell, told) = mpsc::channel();
    let (name, named) = mpsc::channel();
    // Not waited for, so that one that is not stopped fails the test and does not hold it up.
    let serving = Arc::clone(&server);
    thread::spawn(move || {
        name.send(gettid()).unwrap();
        let mut sequence = (0..300).fold(Sequence::new(), |sequence, _| sequence.push(&file, vec![1; 4000]));
        let mut failures = Vec::new();
        serving.serve(&mut sequence, |error| failures.push(error)).unwrap();
        tell.send(failures).unwrap();
    });
    let clients: Vec<UnixStream> = (0..64).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for client in &clients {
        // Something is there: it is being served.
        recv(client.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK).unwrap();
    }
    // It has noticed that nobody takes more, and sleeps.
    let state = format!("/proc/self/task/{}/stat", named.recv().unwrap());
    while !fs::read_to_string(&state).unwrap().contains(") S ") {
        thread::yield_now();
    }
    server.stop();
    let failures = told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(failures.len(), 64);
    assert!(failures.iter().all(Error::is_timeout), "{failures:?}");
}

#[test]
fn metadata_that_is_too_long_is_an_error_before_anybody_is_served() {
    let files = Files::new(1);
    let server = Server::options().most_bytes(10).bind(files.path("server")).unwrap();
    let mut sequence = Sequence::new().push(&files[0], "123456").push(&files[0], "1234567");
    let error = server.serve(&mut sequence, |_| ()).unwrap_err();
    assert!(matches!(error, Error::MetadataTooLong { index: 1, length: 7, most: 6 }), "{error:?}");
}

#[test]
fn its_file_has_the_mode_that_was_asked_for_whatever_the_umask_is() {
    let files = Files::new(0);
    let path = files.path("server");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let before = umask(Mode::from_bits_truncate(0o077));
    let narrow = Server::options().mode(0o666).bind(&path).map(|server| (mode(), server));
    umask(Mode::empty());
    let narrow = narrow.unwrap();
    assert_eq!(narrow.0, 0o666);
    drop(narrow);
    let wide = Server::bind(&path).map(|server| (mode(), server));
    umask(before);
    assert_eq!(wide.unwrap().0, 0o600);
}

#[test]
fn a_path_is_claimed_only_where_nobody_listens() {
    let _alone = no_forks();
    let files = Files::new(0);
    let path = files.path("server");
    // Stale: bound by somebody who is gone.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = Server::bind(&path).unwrap();
    assert!(matches!(Server::bind(&path).unwrap_err(), Error::InUse { .. }));
    assert_eq!(serving(&server, &mut Sequence::new(), || receive(&path).unwrap().len()).0, 0);
    drop(server);
    assert!(!path.exists());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Server::bind(&path).unwrap_err(), Error::NotASocket { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert!(matches!(Server::bind(files.path("")).unwrap_err(), Error::NotASocket { .. }));
    assert!(matches!(Server::bind(files.path("none/server")).unwrap_err(), Error::Listen { .. }));
    // No other file is left, and names up to the limit of the kernel will do.
    assert_eq!(fs::read_dir(files.path("")).unwrap().count(), 1);
    let most = 107 - files.path("").as_os_str().len();
    for (length, works) in [(most - 1, true), (most, true), (most + 1, false)] {
        let path = files.path("x".repeat(length));
        assert_eq!(Server::bind(&path).is_ok_and(|_| path.exists()), works, "{length}");
    }
    assert_eq!(fs::read_dir(files.path("")).unwrap().count(), 1);
}

#[test]
fn a_second_server_does_not_disturb_the_first() {
    let _alone = no_forks();
    let files = Files::new(1);
    let path = files.path("server");
    let server = Server::bind(&path).unwrap();
    let mut clients = 0;
    let mut sequence = Sequence::new().push(&files[0], "").call(|| {
        clients += 1;
        ControlFlow::Continue(())
    });
    let (_, failures) = serving(&server, &mut sequence, || {
        for _ in 0..3 {
            assert!(matches!(Server::bind(&path).unwrap_err(), Error::InUse { .. }));
        }
        assert_eq!(receive(&path).unwrap().len(), 1);
    });
    drop(sequence);
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(clients, 1);
    drop(server);
    // One that has bound the path and does not listen yet, and one of another type, are in use too.
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
    for kind in [SockType::Stream, SockType::Datagram] {
        let bound = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(bound.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        assert!(matches!(Server::bind(&path).unwrap_err(), Error::InUse { .. }));
        drop(bound);
        drop(Server::bind(&path).unwrap());
    }
}

#[test]
fn of_many_that_start_at_once_one_gets_the_path() {
    let _alone = no_forks();
    let files = Files::new(0);
    for _ in 0..20 {
        let path = files.path("server");
        drop(UnixListener::bind(&path).unwrap());
        let tries = thread::scope(|scope| {
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(|| Server::bind(&path))).collect();
            starting.into_iter().map(|starting| starting.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(tries.iter().filter(|tried| tried.is_ok()).count(), 1);
        assert!(tries.iter().all(|tried| tried.is_ok() || matches!(tried, Err(Error::InUse { .. }))));
        assert!(UnixStream::connect(&path).is_ok());
    }
}

#[test]
fn the_file_of_somebody_else_is_not_removed() {
    let files = Files::new(0);
    let path = files.path("server");
    let server = Server::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(path.exists());
}

/// Does this in a process of another user; whether it says so.
fn as_nobody(try_it: impl FnOnce() -> bool) -> bool {
    const NOBODY: u32 = 65_534;
    forked(|| setuid(Uid::from_raw(NOBODY)).is_ok() && try_it())
}

/// A process that is forked has what another test has open, so that a socket which that one closes is in use for longer.
static FORKS: RwLock<()> = RwLock::new(());

/// For a test in which a socket is stale as soon as it is closed: there is no other process until this is dropped.
fn no_forks() -> RwLockReadGuard<'static, ()> {
    FORKS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Does this in a new process; whether it says so.
fn forked(try_it: impl FnOnce() -> bool) -> bool {
    let _alone = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    #[expect(unsafe_code, reason = "fork(2), to be another process, of another user")]
    // SAFETY: the new process does what the caller wants, which takes no lock that another thread could hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0))
        }
        ForkResult::Child => {
            let done = try_it();
            #[expect(unsafe_code, reason = "nothing of the parent's is to be done twice")]
            // SAFETY: it ends the process, and runs nothing.
            unsafe {
                libc::_exit(i32::from(!done))
            }
        }
    }
}

#[test]
fn a_forked_process_does_not_remove_its_parents_file() {
    let files = Files::new(0);
    let path = files.path("server");
    let mut server = Some(Server::bind(&path).unwrap());
    assert!(forked(|| server.take().is_some()));
    assert!(path.exists());
    drop(server);
    assert!(!path.exists());
}

#[test]
fn what_is_sent_to_a_path_reaches_whoever_listens_there() {
    let _alone = no_forks();
    let files = Files::new(300);
    let path = files.path("listener");
    let listener = UnixListener::bind(&path).unwrap();
    let all: Vec<_> = files.iter().map(|file| (file, "for you")).collect();
    thread::scope(|scope| {
        scope.spawn(|| handoff::send(&path, &all).unwrap());
        let mut given = Vec::new();
        handoff::receive_all_from(listener.accept().unwrap().0, |descriptor, metadata| {
            assert_eq!(metadata, b"for you");
            given.push(identity(&descriptor));
            Ok(())
        })
        .unwrap();
        assert!(given.into_iter().eq(files.iter().map(identity)));
    });
    // Too much metadata is told before anybody is troubled with it.
    listener.set_nonblocking(true).unwrap();
    let error = handoff::send(&path, &[(&files[0], "fits".to_owned()), (&files[1], "x".repeat(4093))]).unwrap_err();
    assert!(matches!(error, Error::MetadataTooLong { index: 1, length: 4093, most: 4092 }), "{error:?}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(listener);
    assert!(matches!(handoff::send(&path, &all).unwrap_err(), Error::Connect { .. }));
}

#[test]
fn a_server_whose_backlog_is_full_is_waited_for_as_long_as_there_is_time() {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    let files = Files::new(1);
    let path = files.path("listener");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let listener = UnixListener::from(listener);
    let first = UnixStream::connect(&path).unwrap();
    let error = Receiver::new().time_limit(Some(Duration::from_millis(20))).receive(&path, |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_timeout(), "{error:?}");
    thread::scope(|scope| {
        scope.spawn(|| handoff::send(&path, &[(&files[0], "")]).unwrap());
        drop(first);
        assert_eq!(handoff::receive_all_from(listener.accept().unwrap().0, |_, _| Ok(())).unwrap(), 0);
        assert_eq!(handoff::receive_all_from(listener.accept().unwrap().0, |_, _| Ok(())).unwrap(), 1);
    });
}

#[test]
fn only_root_and_the_own_user_may_come_unless_others_are_allowed() {
    if !needs(Uid::effective().is_root(), "root") {
        return;
    }
    let files = Files::new(1);
    fs::set_permissions(files.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let path = files.path("server");
    let come = || {
        let end = handoff::receive_all_from(UnixStream::connect(&path).unwrap(), |_, _| Ok(()));
        end.is_ok_and(|count| count == 1)
    };
    let refused = || {
        let end = handoff::receive_all_from(UnixStream::connect(&path).unwrap(), |_, _| Ok(()));
        !end.is_ok_and(|count| count > 0)
    };
    let mut sequence = Sequence::new().push(&files[0], "");
    // By the mode alone.
    let server = Server::bind(&path).unwrap();
    assert!(as_nobody(|| UnixStream::connect(&path).is_err()));
    drop(server);
    // By whose process it is, though the mode lets everybody in.
    let server = Server::options().mode(0o666).bind(&path).unwrap();
    let (refused, failures) = serving(&server, &mut sequence, || as_nobody(refused));
    assert!(refused);
    assert!(matches!(failures[..], [Error::Stranger { user: 65_534 }]), "{failures:?}");
    drop(server);
    let server = Server::options().mode(0o666).allow_user(65_534).bind(&path).unwrap();
    let (given, failures) = serving(&server, &mut sequence, || as_nobody(come));
    assert!(given && failures.is_empty(), "{failures:?}");
}

#[test]
fn whoever_comes_looks_at_who_listens_too() {
    if !needs(Uid::effective().is_root(), "root") {
        return;
    }
    let files = Files::new(1);
    fs::set_permissions(files.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let path = files.path("server");
    // Another user's process listens, and stays until it is asked to go.
    let (here, there) = UnixStream::pair().unwrap();
    let listener = thread::scope(|scope| {
        let of_other = scope.spawn(|| {
            as_nobody(|| {
                let listener = UnixListener::bind(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
                handoff::send_to(&there, &[(&listener, "listens")]).is_ok()
            })
        });
        let mut listener = None;
        handoff::receive_from(&here, |descriptor, _| {
            listener = Some(descriptor.into_unix_listener()?);
            Ok(())
        })
        .unwrap();
        assert!(of_other.join().unwrap());
        listener.unwrap()
    });
    let error = handoff::receive(&path, |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Stranger { user: 65_534 }), "{error:?}");
    let error = handoff::send(&path, &[(&files[0], "")]).unwrap_err();
    assert!(matches!(error, Error::Stranger { user: 65_534 }), "{error:?}");
    Sender::new().allow_user(65_534).send(&path, &[(&files[0], "for you")]).unwrap();
    let streams: Vec<UnixStream> = (0..3).map(|_| listener.accept().unwrap().0).collect();
    let mut given = Vec::new();
    handoff::receive_all_from(streams[2].as_fd(), |descriptor, metadata| {
        given.push((identity(&descriptor), metadata.to_vec()));
        Ok(())
    })
    .unwrap();
    assert_eq!(given, [(identity(&files[0]), b"for you".to_vec())]);
}
