//! The adapter for tokio.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, clients, listener};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use socket_protector_client::tokio::AsyncProtector;
use socket_protector_client::wire::{FromChild, MAX_STATE};
use socket_protector_client::{Connection, Error, Inherited, Protector, descriptors};
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpStream as Client;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream as UnixClient};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

/// Runs a test on a runtime with two threads, and not for ever.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(20), test).await.unwrap() })
}

/// Polls once: whether the future now waits.
async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// A supervisor and its child, with connections passed or with one listener.
fn both_ways() -> [(Supervisor, Protector); 2] {
    [Supervisor::with(Vec::new()), Supervisor::with(vec![listener().0.into()])]
}

fn adapted((supervisor, protector): (Supervisor, Protector)) -> (Supervisor, AsyncProtector) {
    (supervisor, AsyncProtector::new(protector).unwrap())
}

async fn taken(protector: &AsyncProtector) -> Connection {
    protector.accept().await.unwrap().unwrap()
}

#[test]
fn waiting_to_accept_tells_that_the_daemon_is_ready() {
    run(async {
        for pair in both_ways() {
            let (supervisor, protector) = adapted(pair);
            assert_eq!(supervisor.heard(), Some(FromChild::Hello { version: 1 }));
            assert_eq!(supervisor.heard(), None);
            assert!(waits(pin!(protector.accept())).await);
            assert_eq!(supervisor.heard(), Some(FromChild::Ready));
        }
    });
}

#[test]
fn the_rest_of_a_batch_comes_without_a_further_event_and_before_the_end() {
    run(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        let mut accept = Box::pin(protector.accept());
        assert!(waits(accept.as_mut()).await);
        let mut clients = clients(5);
        let batch: Vec<(u16, BorrowedFd<'_>)> = clients.iter().map(|(_, server)| (3, server.as_fd())).collect();
        supervisor.pass(&batch[..3]);
        let first = accept.await.unwrap().unwrap();
        supervisor.pass(&batch[3..]);
        drop(supervisor);
        protector.draining().await;
        let mut connections = vec![first];
        while let Some(connection) = protector.accept().await.unwrap() {
            connections.push(connection);
        }
        assert!(protector.accept().await.unwrap().is_none());
        assert_eq!(connections.len(), 5);
        for (connection, (mut client, server)) in connections.into_iter().zip(clients.drain(..)) {
            drop(server);
            assert_eq!(connection.listener(), 3);
            answers(connection, &mut client);
        }
    });
}

#[test]
fn clients_of_listeners_are_taken_as_they_come() {
    run(async {
        let ((first, first_address), (second, second_address)) = (listener(), listener());
        let (_supervisor, protector) = adapted(Supervisor::with(vec![first.into(), second.into()]));
        for (index, address) in [(1, second_address), (0, first_address), (1, second_address)] {
            let mut accept = pin!(protector.accept());
            assert!(waits(accept.as_mut()).await);
            let mut client = Client::connect(address).unwrap();
            let connection = accept.await.unwrap().unwrap();
            assert_eq!(connection.listener(), index);
            answers(connection, &mut client);
        }
    });
}

#[test]
fn a_drain_ends_every_wait() {
    run(async {
        for pair in both_ways() {
            let (supervisor, protector) = adapted(pair);
            let mut accepts = [Box::pin(protector.accept()), Box::pin(protector.accept())];
            let mut drains = [Box::pin(protector.draining()), Box::pin(protector.draining())];
            for (accept, drain) in accepts.iter_mut().zip(&mut drains) {
                assert!(waits(accept.as_mut()).await);
                assert!(waits(drain.as_mut()).await);
            }
            drop(supervisor);
            for (accept, drain) in accepts.into_iter().zip(drains) {
                assert!(accept.await.unwrap().is_none());
                drain.await;
            }
            protector.draining().await;
            assert!(protector.get_ref().is_draining());
        }
    });
}

#[test]
fn the_drain_is_told_while_nobody_accepts() {
    run(async {
        for shut_down_only in [false, true] {
            let (listener, address) = listener();
            let _client = Client::connect(address).unwrap();
            let clients = clients(1);
            for pair in [Supervisor::with(Vec::new()), Supervisor::with(vec![listener.try_clone().unwrap().into()])] {
                let (supervisor, protector) = adapted(pair);
                supervisor.pass(&[(0, clients[0].1.as_fd()), (0, clients[0].1.as_fd())]);
                // One of them stays in the queue, and the other client with its listener.
                taken(&protector).await;
                assert!(timeout(Duration::from_millis(20), protector.draining()).await.is_err());
                let kept = if shut_down_only {
                    shutdown(supervisor.end.as_raw_fd(), Shutdown::Write).unwrap();
                    Some(supervisor)
                } else {
                    drop(supervisor);
                    None
                };
                protector.draining().await;
                assert!(protector.get_ref().is_draining());
                taken(&protector).await;
                assert!(protector.accept().await.unwrap().is_none());
                drop(kept);
            }
        }
    });
}

#[test]
fn an_accept_that_is_dropped_again_and_again_loses_nothing() {
    const RECORDS: u16 = 40;
    const EACH: u16 = 10;
    run(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        let sender = thread::spawn(move || {
            let clients = clients(1);
            for record in 0..RECORDS {
                // The listener's index serves as a running number.
                let numbers = record * EACH..(record + 1) * EACH;
                supervisor.pass(&numbers.map(|number| (number, clients[0].1.as_fd())).collect::<Vec<_>>());
                thread::yield_now();
            }
        });
        let (mut next, mut dropped) = (0, 0);
        loop {
            tokio::select! {
                connection = protector.accept() => match connection.unwrap() {
                    Some(connection) => {
                        assert_eq!(connection.listener(), next);
                        next += 1;
                    }
                    None => break,
                },
                () = yield_now() => dropped += 1,
            }
        }
        sender.join().unwrap();
        assert_eq!(next, usize::from(RECORDS * EACH));
        assert!(dropped > 0);
    });
}

#[test]
fn tasks_that_accept_at_the_same_time_share_what_comes() {
    const TASKS: usize = 4;
    const CLIENTS: usize = 100;
    run(async {
        let (listener, address) = listener();
        let (supervisor, protector) = adapted(Supervisor::with(vec![listener.into()]));
        let (protector, taken) = (Arc::new(protector), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (protector, taken) = (Arc::clone(&protector), Arc::clone(&taken));
            tasks.spawn(async move {
                while protector.accept().await.unwrap().is_some() {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=20 {
            let _clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(address).unwrap()).collect();
            while taken.load(Ordering::Relaxed) < round * CLIENTS {
                yield_now().await;
            }
        }
        drop(supervisor);
        tasks.join_all().await;
        assert_eq!(taken.load(Ordering::Relaxed), 20 * CLIENTS);
    });
}

#[test]
fn an_error_does_not_end_it() {
    run(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        descriptors::send(supervisor.end.as_fd(), &[0x01, 0x02, 0, 0], &[]).unwrap();
        assert_eq!(protector.accept().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut accept = pin!(protector.accept());
        assert!(waits(accept.as_mut()).await);
        supervisor.pass(&[(0, clients(1)[0].1.as_fd())]);
        assert!(accept.await.unwrap().is_some());
    });
}

#[test]
fn without_a_supervisor_it_serves_and_never_drains() {
    run(async {
        let (listener, address) = listener();
        let protector = AsyncProtector::new(Protector::standalone(listener).unwrap()).unwrap();
        for _ in 0..2 {
            let mut client = Client::connect(address).unwrap();
            answers(taken(&protector).await, &mut client);
        }
        assert!(timeout(Duration::from_millis(20), protector.draining()).await.is_err());
        assert!(timeout(Duration::from_millis(20), protector.accept()).await.is_err());
    });
}

#[test]
fn taken_away_from_the_runtime_it_keeps_what_was_not_returned() {
    let (supervisor, protector) = run(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        supervisor.pass(&[(0, clients(1)[0].1.as_fd()); 3]);
        taken(&protector).await;
        (supervisor, protector.into_inner())
    });
    assert!(protector.accept().unwrap().is_some());
    // In another runtime, with the rest in the queue.
    run(async {
        let protector = AsyncProtector::new(protector).unwrap();
        taken(&protector).await;
        let mut accept = pin!(protector.accept());
        assert!(waits(accept.as_mut()).await);
        drop(supervisor);
        assert!(accept.await.unwrap().is_none());
    });
}

/// A runtime with one thread, which must not wait for the supervisor.
fn run_alone<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(20), test).await.unwrap() })
}

/// Says so much that the channel has room for nothing more.
fn fill(protector: &AsyncProtector) {
    while protector.get_ref().open_connections(1).is_ok() {}
}

/// Reads what the child said, all but the counts, as it comes.
async fn next(supervisor: &Supervisor) -> (FromChild, Vec<OwnedFd>) {
    loop {
        match supervisor.heard_with_sockets() {
            Some((FromChild::OpenConnections(_) | FromChild::Hello { .. }, _)) => {}
            Some(heard) => return heard,
            None => yield_now().await,
        }
    }
}

#[test]
fn giving_back_waits_for_room_and_keeps_nobody_else_waiting() {
    run_alone(async {
        for pair in both_ways() {
            let (supervisor, protector) = adapted(pair);
            let (mut client, server) = clients(1).remove(0);
            fill(&protector);
            let mut giving = Box::pin(protector.give_back(Connection::new(server, 3), b"state"));
            assert!(waits(giving.as_mut()).await);
            let (given, (record, sockets)) = tokio::join!(giving, next(&supervisor));
            given.unwrap();
            assert_eq!(record, FromChild::GiveBack { listener: 3, state: b"state".to_vec() });
            answers(Connection::new(sockets.into_iter().next().unwrap(), 0), &mut client);
        }
    });
}

#[test]
fn the_first_accept_waits_for_room_to_say_ready() {
    run_alone(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        fill(&protector);
        // Dropped, it has said nothing, and the next one says it.
        assert!(waits(pin!(protector.ready())).await);
        let mut accept = Box::pin(protector.accept());
        assert!(waits(accept.as_mut()).await);
        let mut heard = Box::pin(next(&supervisor));
        while waits(heard.as_mut()).await {
            assert!(waits(accept.as_mut()).await);
            yield_now().await;
        }
        protector.ready().await.unwrap();
        assert!(supervisor.heard().is_none());
    });
}

#[test]
fn a_connection_that_cannot_be_given_back_comes_back() {
    run_alone(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        let (mut client, server) = clients(1).remove(0);
        fill(&protector);
        // Its ten seconds pass at once where nothing else is to be done.
        tokio::time::pause();
        let error = protector.give_back(Connection::new(server, 0), b"state").await.unwrap_err();
        let cause = io::Error::from(error.source);
        assert_eq!(cause.kind(), io::ErrorKind::TimedOut);
        let long = [0; MAX_STATE + 1];
        let error = protector.give_back(error.connection, &long).await.unwrap_err();
        assert!(matches!(error.source, Error::StateTooLong { .. }));
        drop(supervisor);
        let error = protector.give_back(error.connection, b"state").await.unwrap_err();
        // The first kind because it had not read everything.
        let gone = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(gone.contains(&io::Error::from(error.source).kind()));
        let alone = AsyncProtector::new(Protector::standalone(listener().0).unwrap()).unwrap();
        let error = alone.give_back(error.connection, b"state").await.unwrap_err();
        assert!(matches!(error.source, Error::NoSupervisor));
        assert!(matches!(alone.store("name", &[]).await, Err(Error::NoSupervisor)));
        answers(error.connection, &mut client);
    });
}

#[test]
fn storing_waits_for_the_supervisor_in_another_thread() {
    run_alone(async {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tokio-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (_supervisor, channel) = Supervisor::new();
        let inherited = Inherited {
            channel: Some(channel),
            listeners: Vec::new(),
            listener_names: Vec::new(),
            stored: Vec::new(),
            generation: 7,
            name: "test".to_owned(),
            notify: Some(path.clone()),
        };
        let protector = AsyncProtector::new(Protector::from_inherited(inherited).unwrap()).unwrap();
        let told = || async {
            loop {
                let (mut text, mut with) = ([0; 64], Vec::new());
                match descriptors::receive(socket.as_fd(), &mut text, &mut with, false) {
                    Ok(received) => return (String::from_utf8(text[..received.bytes].to_vec()).unwrap(), with),
                    Err(_) => yield_now().await,
                }
            }
        };
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let passed = [file.as_fd()];
        let mut storing = Box::pin(protector.store("state", &passed));
        assert!(waits(storing.as_mut()).await);
        let (word, barrier) = (told().await, told().await);
        assert_eq!((word.0.as_str(), word.1.len()), ("FDSTORE=1\nFDNAME=state", 1));
        assert_eq!((barrier.0.as_str(), barrier.1.len()), ("BARRIER=1", 1));
        // Not before the supervisor has dealt with it.
        assert!(waits(storing.as_mut()).await);
        drop(barrier);
        storing.await.unwrap();
        let (removed, _) = tokio::join!(protector.unstore("state"), async {
            assert_eq!(told().await.0, "FDSTOREREMOVE=1\nFDNAME=state");
            drop(told().await);
        });
        removed.unwrap();
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
#[allow(unsafe_code, reason = "a fork")]
fn a_forked_process_leaves_its_parents_waiting_alone() {
    run_alone(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        let mut accept = Box::pin(protector.accept());
        assert!(waits(accept.as_mut()).await);
        drop(accept);
        // SAFETY: the new process drops what it has a copy of, makes a few system calls, and ends without cleaning up.
        let child = match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                nix::unistd::alarm::set(25);
                let own = protector.into_inner();
                let empty = matches!(own.accept(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
                // SAFETY: it has no conditions.
                unsafe { nix::libc::_exit(i32::from(!empty)) }
            }
            nix::unistd::ForkResult::Parent { child } => child,
        };
        let ended = nix::sys::wait::waitpid(child, None).unwrap();
        assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(child, 0));
        let mut accept = Box::pin(protector.accept());
        assert!(waits(accept.as_mut()).await);
        supervisor.pass(&[(0, clients(1)[0].1.as_fd())]);
        assert!(accept.await.unwrap().is_some());
        let mut draining = Box::pin(protector.draining());
        assert!(waits(draining.as_mut()).await);
        drop(supervisor);
        draining.await;
    });
}

fn is_nonblocking(socket: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

#[test]
fn a_connection_becomes_a_stream_of_the_runtime() {
    run(async {
        let (supervisor, protector) = adapted(Supervisor::with(Vec::new()));
        let (client, server) = clients(1).remove(0);
        supervisor.pass(&[(0, server.as_fd())]);
        drop(server);
        let connection = taken(&protector).await;
        assert!(!is_nonblocking(&connection));
        let mut stream = TcpStream::try_from(connection).unwrap();
        assert!(is_nonblocking(&stream));
        client.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from_std(client).unwrap();
        let mut bytes = [0; 4];
        let mut reading = Box::pin(stream.read_exact(&mut bytes));
        assert!(waits(reading.as_mut()).await);
        client.write_all(b"ping").await.unwrap();
        assert_eq!(reading.await.unwrap(), 4);
        assert_eq!(&bytes, b"ping");
    });
}

#[test]
fn a_connection_over_a_unix_socket_becomes_a_unix_stream_only() {
    run(async {
        let name = format!("socket-protector-client-tokio-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let (_supervisor, protector) = adapted(Supervisor::with(vec![listener.into()]));
        let client = || UnixClient::connect_addr(&address).unwrap();
        let clients = [client(), client()];
        let error = TcpStream::try_from(taken(&protector).await).unwrap_err();
        assert_eq!(error.to_string(), "the connection is not a TCP stream");
        let mut stream = UnixStream::try_from(taken(&protector).await).unwrap();
        assert!(is_nonblocking(&stream));
        drop(clients);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
    run(async {
        let (listener, address) = listener();
        let (_supervisor, protector) = adapted(Supervisor::with(vec![listener.into()]));
        let _client = Client::connect(address).unwrap();
        let error = UnixStream::try_from(taken(&protector).await).unwrap_err();
        assert_eq!(error.to_string(), "the connection is not a unix stream");
    });
}
