//! A receiver and a server that run out of descriptors. Alone in its file, because the limit holds for the whole
//! process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/files.rs"]
mod files;

use files::{Files, census};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket_protector_client::handoff::{self, Error, Receiver, Sequence, Server};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::thread;

/// Opens files until none is left but `spare`.
fn fill(spare: usize) -> Vec<File> {
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - spare);
    files
}

#[test]
fn running_out_is_a_clean_error_and_leaks_nothing() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 400.min(most), most).unwrap();
    let file = File::open("/dev/null").unwrap();
    let (here, there) = UnixStream::pair().unwrap();
    let full = fill(5);
    let before = open();
    for (sent, room) in [(20, 5), (6, 5), (1, 0), (5, 5)] {
        let taken = if room == 0 { fill(0) } else { Vec::new() };
        handoff::send_to(&here, &vec![(&file, ""); sent]).unwrap();
        let mut count = 0;
        let received = handoff::receive_from(&there, |_, _| {
            count += 1;
            Ok(())
        });
        if sent <= room {
            assert_eq!(received.unwrap(), sent);
        } else {
            let error = received.unwrap_err();
            assert!(matches!(error, Error::CutOff { arrived } if arrived == room), "{error:?}");
            assert_eq!(count, 0);
        }
        drop(taken);
        assert_eq!(open(), before);
    }
    drop(full);
    a_server_waits_until_there_are_some();
}

/// As the census does, which needs a descriptor to look.
fn open() -> usize {
    let full = fill(0);
    let free = full.len();
    drop(full);
    400 - free
}

fn a_server_waits_until_there_are_some() {
    let files = Files::new(1);
    let path = files.path("server");
    let server = Server::bind(&path).unwrap();
    let before = census();
    let client = UnixStream::connect(&path).unwrap();
    let mut full = Some(fill(0));
    let mut failures = 0;
    let mut sequence = Sequence::new().push(&files[0], "late").call(|| ControlFlow::Break(()));
    // Closed by the first failure, which is told.
    server
        .serve(&mut sequence, |error| {
            assert!(matches!(error, Error::Accept { .. }), "{error:?}");
            failures += 1;
            full = None;
        })
        .unwrap();
    assert_eq!(failures, 1);
    let receiving = thread::spawn(move || Receiver::new().receive_all_from(&client, |_, _| Ok(())).unwrap());
    assert_eq!(receiving.join().unwrap(), 1);
    assert_eq!(census(), before);
}
