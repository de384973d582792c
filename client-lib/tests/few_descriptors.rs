//! A child that runs out of descriptors. Alone in its file, because the limit holds for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, answers, clients, listener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket_protector_client::{Connection, Error, Protector};
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsFd;

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
fn nothing_is_lost_unseen_and_nothing_hangs() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 400.min(most), most).unwrap();
    let clients = clients(16);
    let (supervisor, protector) = Supervisor::with(Vec::new());
    pass(&supervisor, &clients[..2]);
    drop(take(&protector, 2));

    // Run out without warning: what came is served, and the loss is told once.
    let full = fill(5);
    pass(&supervisor, &clients);
    let held = take(&protector, 5);
    assert!(matches!(failure(&protector), Error::Lost { count: 11 }));

    // Now that it is known, the next record stays in the channel until there is room, however often it is asked for.
    pass(&supervisor, &clients);
    for _ in 0..3 {
        assert!(matches!(failure(&protector), Error::NoDescriptors { connections: 16, .. }));
    }
    drop(full);
    drop(held);
    drop(take(&protector, 16));

    // The same for a connection with its state.
    let full = fill(0);
    supervisor.pass_with_state(0, b"lost", clients[0].1.as_fd());
    assert!(matches!(failure(&protector), Error::Lost { count: 1 }));
    supervisor.pass_with_state(0, b"state", clients[0].1.as_fd());
    for _ in 0..2 {
        assert!(matches!(failure(&protector), Error::NoDescriptors { connections: 1, .. }));
    }
    drop(full);
    assert_eq!(take(&protector, 1)[0].state(), Some(&b"state"[..]));

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
}
