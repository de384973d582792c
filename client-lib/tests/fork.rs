//! Processes that fork while connections are waiting to be taken.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(unsafe_code, reason = "a fork")]

mod common;

use common::{Supervisor, asleep, clients, eventually, is_readable, listener};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use socket_protector_client::{Connection, Protector};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// One at a time, because a forked process has copies of what the other tests have open.
static ALONE: Mutex<()> = Mutex::new(());

/// After so many seconds a process that still waits is killed: what it waits for would never come.
const TOO_LONG: u32 = 25;

/// Another process that does this, and is well if that does not panic.
fn forked(work: impl FnOnce()) -> Pid {
    // SAFETY: the new process does what the library is made for, and no more than it; then it ends without cleaning up.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            nix::unistd::alarm::set(TOO_LONG);
            let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
            // SAFETY: it has no conditions.
            unsafe { nix::libc::_exit(i32::from(failed)) }
        }
    }
}

fn is_well(child: Pid) {
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
}

fn pass(supervisor: &Supervisor, clients: Vec<(TcpStream, TcpStream)>) -> Vec<TcpStream> {
    let batch: Vec<_> = clients.iter().map(|(_, server)| (0, server.as_fd())).collect();
    supervisor.pass(&batch);
    clients.into_iter().map(|(client, _)| client).collect()
}

fn serve(connection: Connection) {
    (&connection).write_all(b"served").unwrap();
}

fn would_wait(protector: &Protector) -> bool {
    matches!(protector.accept(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The client got its answer once, and nobody holds the connection any more.
fn is_answered(mut client: TcpStream) {
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "served");
}

#[test]
fn each_connection_is_served_by_one_process() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (supervisor, protector) = Supervisor::with(Vec::new());
    protector.set_nonblocking(true).unwrap();
    let waiting = pass(&supervisor, clients(8));
    serve(protector.accept().unwrap().unwrap());
    let (mut told, mut tell) = io::pipe().unwrap();
    let child = forked(|| {
        assert_eq!(protector.queued(), 0);
        assert!(!is_readable(&protector) && would_wait(&protector));
        tell.write_all(b"x").unwrap();
        // Until the other process has passed more.
        while !is_readable(&protector) {
            thread::yield_now();
        }
        while let Ok(Some(connection)) = protector.accept() {
            serve(connection);
        }
        assert!(!is_readable(&protector));
    });
    // It looks while the queue here is full. If it fails, its end is the end of the pipe.
    drop(tell);
    told.read_exact(&mut [0]).unwrap();
    assert_eq!(protector.queued(), 7);
    assert!(is_readable(&protector));
    (0..7).for_each(|_| serve(protector.accept().unwrap().unwrap()));
    assert!(!is_readable(&protector) && would_wait(&protector));
    waiting.into_iter().for_each(is_answered);
    let more = pass(&supervisor, clients(3));
    is_well(child);
    more.into_iter().for_each(is_answered);
    assert!(!is_readable(&protector) && would_wait(&protector));
}

#[test]
fn a_process_for_one_connection_holds_no_other() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let waiting = pass(&supervisor, clients(5));
    let (end, mut tell) = io::pipe().unwrap();
    let first = protector.accept().unwrap().unwrap();
    let child = forked(|| {
        // It never asks the library for anything, and ends when it is told to.
        serve(first);
        (&end).read_exact(&mut [0]).unwrap();
    });
    (0..4).for_each(|_| serve(protector.accept().unwrap().unwrap()));
    waiting.into_iter().skip(1).for_each(is_answered);
    tell.write_all(b"x").unwrap();
    is_well(child);
}

#[test]
fn a_forked_process_can_drop_it_and_open_other_descriptors() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (supervisor, protector) = Supervisor::with(Vec::new());
    let _waiting = pass(&supervisor, clients(5));
    drop(protector.accept().unwrap());
    is_well(forked(|| {
        // These get the numbers of what was closed, and must stay open.
        let (mut read, mut write) = io::pipe().unwrap();
        drop(protector);
        write.write_all(b"x").unwrap();
        read.read_exact(&mut [0]).unwrap();
    }));
}

#[test]
fn a_thread_that_waits_does_not_keep_a_forked_process_from_accepting() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (listener, address) = listener();
    let (supervisor, protector) = Supervisor::with(vec![listener.into()]);
    let protector = Arc::new(protector);
    let waits = Arc::clone(&protector);
    let thread = asleep(move || waits.accept().map(|connection| connection.map(serve)));
    let child = forked(|| {
        protector.set_nonblocking(true).unwrap();
        assert!(would_wait(&protector));
        // The thread takes one of them at the most.
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        eventually(|| matches!(protector.accept(), Ok(Some(_))));
    });
    is_well(child);
    drop(TcpStream::connect(address).unwrap());
    assert!(thread.join().unwrap().unwrap().is_some());
    drop(supervisor);
}
