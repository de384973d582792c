//! Too many descriptors under way. Alone in its file, because user and limits hold for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/files.rs"]
mod files;

use files::Files;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, setuid};
use socket_protector_client::descriptors;
use socket_protector_client::handoff::{self, Sender, Sequence, Server};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SHORT: Option<Duration> = Some(Duration::from_millis(50));

/// As many under way as there may be; until this is dropped.
fn fill() -> [UnixStream; 2] {
    let (here, there) = UnixStream::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let all = [file.as_fd(); 100];
    let error = (0..10).find_map(|_| descriptors::send(here.as_fd(), b"x", &all).err()).unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ETOOMANYREFS));
    [here, there]
}

/// A descriptor under way counts for its user until it is received. Without privileges so many may be under way as may be
/// open; see unix(7).
#[test]
fn while_too_many_are_under_way_a_sender_and_a_server_wait() {
    if Uid::effective().is_root() {
        // A user that nobody else is.
        setuid(Uid::from_raw(61_240)).unwrap();
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, most).unwrap();
    let files = Files::new(1);
    a_sender_waits(&files[0]);
    a_server_waits(&files);
}

fn a_sender_waits(file: &File) {
    let (here, there) = UnixStream::pair().unwrap();
    let full = fill();
    let error = Sender::new().time_limit(SHORT).send_to(&here, &[(file, "")]).unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    drop(full);
    handoff::send_to(&here, &[(file, "")]).unwrap();
    assert_eq!(handoff::receive_from(&there, |_, _| Ok(())).unwrap(), 1);
}

/// The first client's time is over; for the second there is room.
fn a_server_waits(files: &Files) {
    let path = files.path("server");
    let server = Server::options().time_limit(SHORT).bind(&path).unwrap();
    let mut full = Some(fill());
    let mut clients = vec![UnixStream::connect(&path).unwrap()];
    let mut sequence = Sequence::new().push(&files[0], "").call(|| ControlFlow::Break(()));
    let failed = |error: handoff::Error| {
        assert!(error.is_timeout(), "{error:?}");
        full = None;
        clients.push(UnixStream::connect(&path).unwrap());
    };
    server.serve(&mut sequence, failed).unwrap();
    let given = clients.iter().map(|client| handoff::receive_all_from(client, |_, _| Ok(())).unwrap());
    assert!(given.eq([0, 1]));
}
