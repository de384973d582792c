//! Handoffs between a program in C and one in Rust, which is this test.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../../tests/common/files.rs"]
mod files;
mod toolchain;

use files::{Files, identity};
use socket_protector_client::handoff::key_value::{self, KeyValue};
use socket_protector_client::handoff::{self, DEFAULT_MESSAGE, Sender, Sequence, Server, frame};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use toolchain::{Standard, client_lib, program};

/// With either library; none without a compiler.
fn programs() -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/handoff.c");
    let link = |library: &str| program(&source, Standard::C11, &[library]);
    ["-lsocket_protector", "-l:libsocket_protector.a"].into_iter().filter_map(link).collect()
}

fn start(program: &Path, words: &[&Path], stream: impl Into<Stdio>) -> Child {
    let mut command = Command::new(program);
    command.args(words).stdin(stream).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it prints; it must succeed.
fn finish(child: Child) -> String {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (out, error) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{status}: {out}{error}");
    out
}

fn shown(descriptor: impl AsFd) -> String {
    let (device, inode) = identity(descriptor);
    format!("{device}:{inode}")
}

#[test]
fn rust_receives_what_c_sends() {
    for program in programs() {
        let (here, there) = UnixStream::pair().unwrap();
        let child = start(&program, &["send".as_ref()], OwnedFd::from(there));
        let mut given = Vec::new();
        handoff::receive_all_from(&here, |descriptor, metadata| {
            given.push((identity(&descriptor), metadata.to_vec()));
            Ok(())
        })
        .unwrap();
        let errors = identity(child.stderr.as_ref().unwrap());
        let output = identity(child.stdout.as_ref().unwrap());
        let mut expected = vec![(errors, b"log".to_vec()), (output, Vec::new())];
        expected.extend((0..400).map(|index| (errors, index.to_string().into_bytes())));
        assert_eq!(given, expected);
        finish(child);
    }
}

#[test]
fn c_receives_what_rust_sends_and_closes_what_it_does_not_keep() {
    for program in programs() {
        let (here, there) = UnixStream::pair().unwrap();
        let files = Files::new(400);
        let all: Vec<_> = files.iter().enumerate().map(|(index, file)| (file, format!("name {index}"))).collect();
        let child = start(&program, &["receive".as_ref()], OwnedFd::from(there));
        Sender::new().send_to(&here, &all).unwrap();
        drop(here);
        let lines = all.iter().map(|(file, name)| format!("fd {} {name}\n", shown(file)));
        assert_eq!(finish(child), lines.collect::<String>() + "kept 134\n");
    }
}

#[test]
fn c_can_refuse_and_nothing_is_left_open() {
    for program in programs() {
        let (here, there) = UnixStream::pair().unwrap();
        let files = Files::new(20);
        let child = start(&program, &["refuse".as_ref()], OwnedFd::from(there));
        Sender::new().send_to(&here, &files.iter().map(|file| (file, "")).collect::<Vec<_>>()).unwrap();
        assert_eq!(finish(child), "");
    }
}

#[test]
fn every_errno_of_the_header_is_set() {
    for program in programs() {
        let files = Files::new(0);
        let stale = files.path("stale");
        drop(UnixListener::bind(&stale).unwrap());
        assert_eq!(finish(start(&program, &["errors".as_ref(), &stale], Stdio::null())), "");
    }
}

#[test]
fn maps_go_both_ways() {
    for program in programs() {
        let (here, there) = UnixStream::pair().unwrap();
        let child = start(&program, &["map".as_ref()], OwnedFd::from(there));
        let mut metadata = Vec::new();
        handoff::receive_from(&here, |_, found| {
            metadata = found.to_vec();
            Ok(())
        })
        .unwrap();
        let map = KeyValue::decode(&metadata).unwrap();
        assert!(map.iter().eq([(&b"kind"[..], &b"tcp"[..]), (b"name", b"x")]));
        let mut metadata = Vec::new();
        key_value::encode(&[("name", &b"a\0 b!"[..]), ("empty", b"")], &mut metadata).unwrap();
        handoff::send_to(&here, &[(&here, &metadata)]).unwrap();
        assert_eq!(finish(child), "");
    }
}

#[test]
fn c_sends_to_a_path_and_receives_from_one() {
    for program in programs() {
        let files = Files::new(3);
        let (to, from) = (files.path("to"), files.path("from"));
        let listener = UnixListener::bind(&to).unwrap();
        let server = Server::bind(&from).unwrap();
        let mut sequence = Sequence::new().push(&files[1], "one").push(&files[2], "");
        thread::scope(|scope| {
            scope.spawn(|| server.serve(&mut sequence, |error| panic!("{error:?}")).unwrap());
            let child = start(&program, &["exchange".as_ref(), &to, &from], files[0].try_clone().unwrap());
            let mut given = Vec::new();
            handoff::receive_all_from(listener.accept().unwrap().0, |descriptor, metadata| {
                given.push((identity(&descriptor), metadata.to_vec()));
                Ok(())
            })
            .unwrap();
            assert_eq!(given, [(identity(&files[0]), b"input".to_vec())]);
            let out = child.wait_with_output().unwrap();
            server.stop();
            let expected = format!("{} one\n{} \n", shown(&files[1]), shown(&files[2]));
            assert_eq!(String::from_utf8(out.stdout).unwrap(), expected);
            assert!(out.status.success() && out.stderr.is_empty());
        });
    }
}

#[test]
fn the_bound_of_the_header_is_the_senders() {
    let header = std::fs::read_to_string(client_lib().join("include/socket_protector.h")).unwrap();
    let most = DEFAULT_MESSAGE - frame::HEADER;
    assert!(header.contains(&format!("#define SOCKET_PROTECTOR_MAX_METADATA {most}\n")));
}
