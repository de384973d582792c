//! A child that runs out of descriptors. Alone in its file, because the limit holds for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, clients, listener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket_protector_client::{Connection, Error, Protector, descriptors};
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Opens files until none is left but `spare`.
fn fill(spare: usize) -> Vec<File> {
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - spare);
    files
}

fn pass(supervisor: &Supervisor, clients: &[(TcpStream, TcpStream)]) {
    let batch: Vec<_> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    supervisor.pass(&batch);
}

fn take(protector: &Protector, count: usize) -> Vec<Connection> {
    (0..count).map(|_| protector.accept().unwrap().unwrap()).collect()
}

fn failure(protector: &Protector) -> Error {
    let error = protector.accept().unwrap_err();
    *error.into_inner().unwrap().downcast().unwrap()
}

#[test]
fn nothing_is_lost_and_nothing_hangs() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 400.min(most), most).unwrap();
    let clients = clients(16);
    let (supervisor, protector) = Supervisor::with(Vec::new());
    pass(&supervisor, &clients[..2]);
    drop(take(&protector, 2));

    // Run out between two records: not one connection of the next is lost, however often it is asked for.
    for spare in 0..16 {
        let full = fill(spare);
        pass(&supervisor, &clients);
        for _ in 0..3 {
            assert!(matches!(failure(&protector), Error::NoDescriptors { connections: 16, .. }));
        }
        drop(full);
        drop(take(&protector, 16));
    }

    // What is already there does not hide that it has become too little: a record fits, the next does not.
    let full = fill(20);
    pass(&supervisor, &clients);
    pass(&supervisor, &clients);
    let held = take(&protector, 16);
    assert!(matches!(failure(&protector), Error::NoDescriptors { connections: 16, .. }));
    drop(held);
    drop(take(&protector, 16));
    drop(full);

    // The same for a connection with its state.
    let full = fill(0);
    supervisor.pass_with_state(0, b"state", clients[0].1.as_fd());
    for _ in 0..2 {
        assert!(matches!(failure(&protector), Error::NoDescriptors { connections: 1, .. }));
    }
    drop(full);
    assert_eq!(take(&protector, 1)[0].state(), Some(&b"state"[..]));

    // The limit may sink below what is open.
    setrlimit(Resource::RLIMIT_NOFILE, 3, most).unwrap();
    pass(&supervisor, &clients);
    assert!(matches!(failure(&protector), Error::NoDescriptors { connections: 16, .. }));
    setrlimit(Resource::RLIMIT_NOFILE, 400.min(most), most).unwrap();
    drop(take(&protector, 16));

    // What is unread is there for the supervisor to take back.
    let (other, channel) = Supervisor::new();
    let kept = channel.try_clone().unwrap();
    let short = common::child(channel, Vec::new());
    pass(&other, &clients);
    let full = fill(15);
    assert!(matches!(failure(&short), Error::NoDescriptors { connections: 16, .. }));
    drop((full, short));
    let mut arrived = Vec::new();
    let received = descriptors::receive(kept.as_fd(), &mut [0; 64], &mut arrived, false).unwrap();
    assert_eq!((received.truncated, arrived.len()), (false, 16));
    drop((arrived, kept, other));

    // A connection that does fit, and a drain, need no room for more.
    let full = fill(1);
    pass(&supervisor, &clients[..1]);
    let held = take(&protector, 1);
    drop(supervisor);
    assert!(protector.accept().unwrap().is_none());
    drop((full, held));

    // A listener's client waits in the backlog meanwhile, and a drain is noticed all the same.
    let (listener, address) = listener();
    let (supervisor, protector) = Supervisor::with(vec![listener.into()]);
    let mut client = TcpStream::connect(address).unwrap();
    let full = fill(0);
    assert!(matches!(failure(&protector), Error::Accept { listener: 0, .. }));
    drop(full);
    answers(protector.accept().unwrap().unwrap(), &mut client);
    let _unseen = TcpStream::connect(address).unwrap();
    let full = fill(0);
    assert!(matches!(failure(&protector), Error::Accept { listener: 0, .. }));
    drop(supervisor);
    assert!(protector.accept().unwrap().is_none());
    drop(full);
    what_a_racing_thread_costs_is_told();
}

/// A thread that opens and closes something all the time may take the last descriptors in the one moment that counts.
/// Then some may be lost, and no more than is told.
fn what_a_racing_thread_costs_is_told() {
    let clients = clients(16);
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let ended = AtomicBool::new(false);
    let full = fill(17);
    let (mut passed, mut served, mut lost) = (0, 0, 0);
    thread::scope(|threads| {
        threads.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let _three: Vec<_> = (0..3).map(|_| File::open("/dev/null")).collect();
            }
        });
        for _ in 0..500 {
            pass(&supervisor, &clients);
            passed += 16;
            while served + lost < passed {
                match protector.accept() {
                    Ok(connection) => served += usize::from(connection.is_some()),
                    Err(error) => match *error.into_inner().unwrap().downcast().unwrap() {
                        Error::Lost { count } => lost += count,
                        Error::NoDescriptors { connections: 16, .. } => {}
                        other => panic!("{other}"),
                    },
                }
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    drop(full);
    drop(supervisor);
    assert!(protector.accept().unwrap().is_none());
    assert_eq!(served + lost, passed);
}
