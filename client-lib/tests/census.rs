//! No descriptor stays behind. Alone in its file, because it counts those of the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Supervisor, clients, is_readable, listener};
use socket_protector_client::{Connection, Protector, descriptors};
use std::net::TcpStream;
use std::os::fd::AsFd;

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn live() {
    let clients = clients(16);
    let batch: Vec<_> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    let (supervisor, protector) = Supervisor::with(Vec::new());
    // Served, queued and unread ones, and those of records that are refused or skipped.
    supervisor.pass(&batch);
    protector.accept().unwrap().unwrap();
    assert!(is_readable(&protector));
    for record in [&[0x01, 0x07, 0, 0][..], &[0x02], &[0x01, 0x01, 0, 0], &[0x04, 0, 0], &[0x04, 0]] {
        descriptors::send(supervisor.end.as_fd(), record, &[batch[0].1; 16]).unwrap();
    }
    let refused = protector.incoming().skip(15).take(4).filter(Result::is_err).count();
    assert_eq!(refused, 4);
    // One that is given back, one that cannot be, and one with a state that nobody reads.
    supervisor.pass_with_state(0, b"state", batch[0].1);
    let connection = protector.accept().unwrap().unwrap();
    assert!(protector.give_back(Connection::new(connection, 70_000), b"").is_err());
    supervisor.pass_with_state(0, b"state", batch[0].1);
    protector.give_back(protector.accept().unwrap().unwrap(), b"state").unwrap();
    supervisor.pass(&batch);
    supervisor.pass_with_state(0, b"state", batch[0].1);
    drop(protector);

    let (listener, address) = listener();
    let (_supervisor, protector) = Supervisor::with(vec![listener.try_clone().unwrap().into()]);
    let _client = TcpStream::connect(address).unwrap();
    protector.accept().unwrap().unwrap();
    assert!(!is_readable(&protector));
    Protector::standalone(listener).unwrap();
    #[cfg(feature = "tokio")]
    live_in_a_runtime(&batch);
}

#[cfg(feature = "tokio")]
fn live_in_a_runtime(batch: &[(u16, std::os::fd::BorrowedFd<'_>)]) {
    use socket_protector_client::tokio::AsyncProtector;
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(async {
        let (supervisor, protector) = Supervisor::with(Vec::new());
        let protector = AsyncProtector::new(protector).unwrap();
        supervisor.pass(batch);
        let connection = protector.accept().await.unwrap().unwrap();
        drop(tokio::net::TcpStream::try_from(connection).unwrap());
        let protector = AsyncProtector::new(protector.into_inner()).unwrap();
        protector.accept().await.unwrap().unwrap();
        drop(supervisor);
        protector.draining().await;
    });
}

#[test]
fn every_descriptor_is_closed_again() {
    live();
    let before = open();
    for _ in 0..50 {
        live();
    }
    assert_eq!(open(), before);
}
