//! Signals while descriptors are handed over, and what a program that is executed meanwhile would have. Alone in its
//! file, because both hold for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "common/files.rs"]
mod files;

use files::Files;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use socket_protector_client::handoff::{self, Receiver, Sender, Sequence, Server};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

static CAUGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: i32) {
    CAUGHT.fetch_add(1, Ordering::SeqCst);
}

/// What this process does on a signal, which breaks off what it waits in.
fn on(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    #[expect(unsafe_code, reason = "sigaction(2), for a signal that nothing else here uses")]
    // SAFETY: the handler adds to a number, which any signal may interrupt.
    unsafe {
        sigaction(signal, &action).unwrap();
    }
}

fn this_thread() -> libc::pthread_t {
    #[expect(unsafe_code, reason = "pthread_self(3)")]
    // SAFETY: it always works, and does nothing.
    unsafe {
        libc::pthread_self()
    }
}

/// Sends the signal to a thread that is not joined yet.
fn interrupt(thread: libc::pthread_t) {
    #[expect(unsafe_code, reason = "pthread_kill(3), so that it is this thread that is broken off")]
    // SAFETY: the number of a thread is good until it is joined, even if it has ended.
    let sent = unsafe { libc::pthread_kill(thread, Signal::SIGUSR1 as i32) };
    assert!(sent == 0 || sent == libc::ESRCH);
}

/// All that a program would have which is executed now, but for the first three.
fn not_close_on_exec() -> Vec<PathBuf> {
    let open = fs::read_dir("/proc/self/fdinfo").unwrap().map(|entry| entry.unwrap().path());
    let stays = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        flags.is_some_and(|flags| i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC == 0)
    };
    open.filter(stays).filter(|path| !["0", "1", "2"].iter().any(|number| path.ends_with(number))).collect()
}

#[test]
fn the_process_is_left_as_it_was() {
    signals_break_nothing_off();
    streams_and_listeners_are_close_on_exec();
}

/// Looked at while a server and its client are in the midst of it.
fn streams_and_listeners_are_close_on_exec() {
    let files = Files::new(1);
    let path = files.path("server");
    let before = not_close_on_exec();
    let server = Server::bind(&path).unwrap();
    let mut meanwhile = None;
    let mut sequence = Sequence::new().push(&files[0], "").call(|| {
        meanwhile = Some(not_close_on_exec());
        ControlFlow::Break(())
    });
    thread::scope(|scope| {
        let client = scope.spawn(|| handoff::receive(&path, |_, _| Ok(())).unwrap());
        server.serve(&mut sequence, |error| panic!("{error:?}")).unwrap();
        assert_eq!(client.join().unwrap(), 1);
    });
    drop(sequence);
    assert_eq!(meanwhile.unwrap(), before);
}

fn signals_break_nothing_off() {
    on(Signal::SIGUSR1, SigHandler::Handler(count));
    on(Signal::SIGPIPE, SigHandler::SigDfl);
    let files = Files::new(1);
    let (here, there) = UnixStream::pair().unwrap();
    let all = vec![(&files[0], vec![1; 4000]); 300];
    let taken = || Receiver::new().time_limit(None).receive_all_from(&there, |_, _| Ok(())).unwrap();
    // A receiver that waits, until there is something; then a sender, until somebody takes it.
    disturbed(
        || Receiver::new().time_limit(None).receive_from(&there, |_, _| Ok(())).unwrap(),
        || {
            handoff::send_to(&here, &all[..1]).unwrap();
        },
    );
    disturbed(
        || {
            Sender::new().time_limit(None).send_to(&here, &all).unwrap();
            here.shutdown(std::net::Shutdown::Write).unwrap();
        },
        || assert_eq!(taken(), all.len()),
    );
    let path = files.path("server");
    let server = Server::bind(&path).unwrap();
    let mut sequence = Sequence::new().push(&files[0], "").call(|| ControlFlow::Break(()));
    disturbed(
        || server.serve(&mut sequence, |error| panic!("{error:?}")).unwrap(),
        || assert_eq!(handoff::receive(&path, |_, _| Ok(())).unwrap(), 1),
    );
    // A peer that has gone is an error, and not the signal that ends a process.
    drop(there);
    let error = handoff::send_to(&here, &all[..1]).unwrap_err();
    assert!(matches!(error, handoff::Error::Send { .. }), "{error:?}");
    let (here, there) = UnixStream::pair().unwrap();
    drop(there);
    let error = std::io::Error::from(handoff::send_to(&here, &all[..1]).unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// Does what waits in a thread of its own, with signals one after the other, and after many of them what ends the wait.
fn disturbed<T: Send>(waits: impl FnOnce() -> T + Send, end: impl FnOnce()) {
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let waiting = scope.spawn(move || {
            tell.send(this_thread()).unwrap();
            waits()
        });
        let thread = told.recv().unwrap();
        for _ in 0..200 {
            let before = CAUGHT.load(Ordering::SeqCst);
            interrupt(thread);
            while CAUGHT.load(Ordering::SeqCst) == before && !waiting.is_finished() {
                thread::yield_now();
            }
        }
        assert!(!waiting.is_finished(), "broken off by a signal");
        end();
        waiting.join().unwrap();
    });
}
