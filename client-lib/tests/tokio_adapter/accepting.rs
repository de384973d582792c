//! Accepting: readiness, batches, the drain, tasks beside each other.

use super::*;

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
