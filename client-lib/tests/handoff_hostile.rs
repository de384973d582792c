//! Peers that do not keep to the wire: each is a clean error, nobody hangs, and no descriptor stays behind. Alone in its
//! file, because it counts the descriptors of the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/files.rs"]
mod files;

use files::{Files, census};
use nix::sys::socket::{MsgFlags, sendmsg};
use socket_protector_client::descriptors::MAX_DESCRIPTORS;
use socket_protector_client::handoff::{Error, FrameError, Receiver, Sender, Sequence, Server};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for everything that is not meant to wait.
const LIMIT: Duration = Duration::from_secs(20);
/// Where waiting is what is tried.
const SHORT: Duration = Duration::from_millis(50);

/// One message by hand.
fn send(stream: &UnixStream, bytes: &[u8], count: usize) {
    let file = File::open("/dev/null").unwrap();
    let descriptors: Vec<BorrowedFd<'_>> = vec![file.as_fd(); count];
    socket_protector_client::descriptors::send(stream.as_fd(), bytes, &descriptors).unwrap();
}

/// The error of a receiver whose peer does this and then closes, or stays.
fn error_after(limit: Duration, peer: impl FnOnce(&UnixStream), closes: bool) -> Error {
    let (here, there) = UnixStream::pair().unwrap();
    peer(&here);
    let kept = Some(here).filter(|_| !closes);
    let mut taken = 0;
    let error = Receiver::new()
        .time_limit(Some(limit))
        .receive_all_from(&there, |_, _| {
            taken += 1;
            Ok(())
        })
        .unwrap_err();
    drop(kept);
    assert_eq!(taken, 0, "only a whole message is given out: {error:?}");
    error
}

/// Runs a case some times, after which the process has as many descriptors as before.
fn leaks_nothing(name: &str, case: impl Fn()) {
    case();
    let before = census();
    for _ in 0..20 {
        case();
    }
    assert_eq!(census(), before, "{name}");
}

/// One after the other, or they would count each other's descriptors.
#[test]
fn hostile_peers() {
    every_hostile_peer_is_a_clean_error_and_leaks_nothing();
    descriptors_that_nobody_wants_are_closed();
    a_malformed_control_message_does_not_arrive();
    a_peer_that_never_ends_is_given_up();
    a_server_survives_every_client();
}

fn every_hostile_peer_is_a_clean_error_and_leaks_nothing() {
    leaks_nothing("bytes without a descriptor", || {
        let error = error_after(LIMIT, |peer| send(peer, b"HELLO", 0), false);
        assert!(matches!(error, Error::NoDescriptor { bytes: 5 }), "{error:?}");
    });
    leaks_nothing("bytes before a message", || {
        let hello = |peer: &UnixStream| {
            send(peer, b"HELLO", 0);
            send(peer, &[0, 0, 0, 0], 1);
        };
        let error = error_after(LIMIT, hello, false);
        assert!(matches!(error, Error::Frame { source: FrameError::TooLong { .. } }), "{error:?}");
    });
    leaks_nothing("a short message and silence", || {
        let error = error_after(SHORT, |peer| send(peer, &[9, 0, 0, 0, 1], 3), false);
        assert!(error.is_timeout() && matches!(error, Error::Receive { .. }), "{error:?}");
    });
    leaks_nothing("a short message and the end", || {
        let error = error_after(LIMIT, |peer| send(peer, &[9, 0, 0, 0, 1], 3), true);
        assert!(matches!(error, Error::Ended { missing: 16 }), "{error:?}");
    });
    leaks_nothing("the end within a header", || {
        let error = error_after(LIMIT, |peer| send(peer, &[0], 1), true);
        assert!(matches!(error, Error::Ended { missing: 3 }), "{error:?}");
    });
    leaks_nothing("a length beyond all bounds", || {
        let error = error_after(LIMIT, |peer| send(peer, &[0xff; 8], 2), false);
        assert!(matches!(error, Error::Frame { source: FrameError::TooLong { index: 0, .. } }), "{error:?}");
    });
    leaks_nothing("more bytes than the lengths tell of", || {
        let error = error_after(LIMIT, |peer| send(peer, &[0, 0, 0, 0, 1, 2], 1), false);
        assert!(matches!(error, Error::Frame { source: FrameError::Surplus { surplus: 2 } }), "{error:?}");
    });
    leaks_nothing("descriptors in the middle of a message", || {
        let twice = |peer: &UnixStream| {
            send(peer, &[4, 0, 0, 0], 1);
            send(peer, &[1, 2, 3, 4], 7);
        };
        let error = error_after(LIMIT, twice, false);
        assert!(matches!(error, Error::Surplus { surplus: 7 }), "{error:?}");
    });
    leaks_nothing("silence", || {
        assert!(error_after(SHORT, |_| {}, false).is_timeout());
    });
}

fn descriptors_that_nobody_wants_are_closed() {
    leaks_nothing("253 that the callback does not keep", || {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &[0; 4 * MAX_DESCRIPTORS], MAX_DESCRIPTORS);
        assert_eq!(Receiver::new().receive_from(&there, |_, _| Ok(())).unwrap(), MAX_DESCRIPTORS);
    });
    leaks_nothing("253 with one byte", || {
        let error = error_after(LIMIT, |peer| send(peer, &[0], MAX_DESCRIPTORS), true);
        assert!(matches!(error, Error::Ended { .. }), "{error:?}");
    });
    leaks_nothing("those behind the one at which the callback failed", || {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &[0; 4 * 100], 100);
        let mut kept = Vec::new();
        let mut first = true;
        let error = Receiver::new()
            .receive_from(&there, |descriptor, _| {
                kept.push(descriptor);
                if std::mem::take(&mut first) { Ok(()) } else { Err("no more".into()) }
            })
            .unwrap_err();
        assert!(matches!(error, Error::Callback { index: 1, .. }), "{error:?}");
        assert_eq!(kept.len(), 2);
    });
    leaks_nothing("those of a callback that panics", || {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &[0; 4 * 100], 100);
        let receive = || Receiver::new().receive_from(&there, |_, _| std::panic::resume_unwind(Box::new("")));
        assert!(std::panic::catch_unwind(receive).is_err());
    });
}

/// One that always has something to say gives a receiver no reason to wait, and its time is over all the same.
fn a_peer_that_never_ends_is_given_up() {
    let (here, there) = UnixStream::pair().unwrap();
    let end = Instant::now() + LIMIT;
    send(&here, &[0; 4], 1);
    // Whenever one has come there is another. It ends some time, or the test would not fail but hang.
    let received = Receiver::new().time_limit(Some(SHORT)).receive_all_from(&there, |_, _| {
        if Instant::now() < end {
            send(&here, &[0; 4], 1);
        }
        Ok(())
    });
    assert!(received.unwrap_err().is_timeout());
    assert!(Instant::now() < end, "only when the peer had nothing more to say");
}

/// A control message whose length is not that of its numbers never leaves the sender's kernel; what is cut on the way
/// is what a receiver has no room for, which the test of few descriptors shows.
fn a_malformed_control_message_does_not_arrive() {
    let (here, there) = UnixStream::pair().unwrap();
    let wrong = [nix::sys::socket::ControlMessage::ScmRights(&[-1])];
    let sent = sendmsg::<()>(
        std::os::fd::AsRawFd::as_raw_fd(&here),
        &[IoSlice::new(&[0; 4])],
        &wrong,
        MsgFlags::empty(),
        None,
    );
    assert_eq!(sent, Err(nix::Error::EBADF));
    drop(here);
    assert_eq!(Receiver::new().receive_from(&there, |_, _| Ok(())).unwrap(), 0);
}

/// Ends the server also when the test fails, which would otherwise wait for it.
struct Stop<'a>(&'a Server);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn a_server_survives_every_client() {
    let files = Files::new(300);
    let path = files.path("server");
    // Enough for those that read.
    let server = Server::options().time_limit(Some(Duration::from_secs(1))).bind(&path).unwrap();
    let mut failures = Vec::new();
    let mut sequence = files.iter().fold(Sequence::new(), |sequence, file| sequence.push(file, vec![1; 4000]));
    thread::scope(|scope| {
        scope.spawn(|| server.serve(&mut sequence, |error| failures.push(error)).unwrap());
        let _stop = Stop(&server);
        let receive = || {
            let mut count = 0;
            let mut receiver = Receiver::new();
            receiver
                .receive(&path, |_, metadata| {
                    count += 1;
                    assert_eq!(metadata.len(), 4000);
                    Ok(())
                })
                .unwrap();
            assert_eq!(count, 300);
        };
        receive();
        let before = census();
        // One that goes at once, one that says something, one that sends descriptors, one that takes nothing.
        drop(UnixStream::connect(&path).unwrap());
        let loud = UnixStream::connect(&path).unwrap();
        send(&loud, b"GET / HTTP/1.1\r\n\r\n", 0);
        let generous = UnixStream::connect(&path).unwrap();
        send(&generous, &[0; 4 * MAX_DESCRIPTORS], MAX_DESCRIPTORS);
        let silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
        receive();
        drop((loud, generous, silent));
        receive();
        // The last client's socket goes a moment after its end of file was read.
        let deadline = Instant::now() + LIMIT;
        while census() != before {
            assert!(Instant::now() < deadline, "{} descriptors, before {before}", census());
            thread::yield_now();
        }
    });
    let timed_out = failures.iter().filter(|error| error.is_timeout()).count();
    // Those that took nothing were given up before the last client but one came in turn, or closed by us.
    assert!(failures.len() == 103 && timed_out > 30, "{failures:?}");
    drop(server);
    assert!(!path.exists());
    // A sender whose peer goes in between.
    leaks_nothing("a peer that goes", || {
        let (here, there) = UnixStream::pair().unwrap();
        let file = File::open("/dev/null").unwrap();
        drop(there);
        assert!(Sender::new().send_to(&here, &[(&file, "")]).is_err());
    });
}
