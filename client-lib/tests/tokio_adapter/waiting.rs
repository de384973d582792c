//! What may have to wait for the supervisor, without keeping the runtime from its work; and forks.

use super::*;

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
