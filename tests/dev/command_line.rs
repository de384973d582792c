//! The words of the command, as the README and the original have them.

use std::net::ToSocketAddrs;

use nix::sys::signal::Signal;

use super::stage::free_port;
use crate::harness::process::Exit;
use crate::harness::scene::suite;
use crate::harness::{Scene, eventually, trials};

trials![
    wrong_use_is_refused,
    exec_takes_the_rest_of_the_line,
    the_form_of_the_original_works,
    a_port_in_use_is_a_failure,
];

#[track_caller]
fn refused(args: &[&str], words: &str) {
    let ran = Scene::new().cli(args).complains();
    assert_eq!(ran.exit, Exit::Code(2), "{args:?}: {ran:?}");
    assert!(ran.err.contains(words), "{args:?}: {}", ran.err);
}

fn wrong_use_is_refused() {
    refused(&["dev"], "required");
    refused(&["dev", "8000", "8001"], "--exec");
    refused(&["dev", "8000", "8001", "--exec"], "--exec");
    refused(&["dev", "8000", "--exec", "true"], "BACKEND");
    refused(&["dev", "x:y", "8001", "--exec", "true"], "position 3");
    refused(&["dev", "8000", "::1:80", "--exec", "true"], "brackets");
    refused(&["dev", "8000", "8001", "--stop-signal", "STOP", "--exec", "true"], "end no process");
    refused(&["dev", "8000", "8001", "--ready-path", "x", "--exec", "true"], "begins with '/'");
    refused(&["dev", "8000", "8001", "--overlap", "--exec", "true"], "{port}");
    refused(&["dev", "0", "0", "-p", "a[", "--exec", "true"], "not a pattern: 'a['");
    refused(&["dev", "0", "0", "--no-such-option", "--exec", "true"], "--no-such-option");
}

fn exec_takes_the_rest_of_the_line() {
    let scene = Scene::new();
    let printed = scene.path("printed");
    let line = format!("printf '%s|' \"$@\" > {}; exit 1", printed.display());
    let mut words = vec!["dev", "0", "0", "-x", "a", "b", "-p", "*", "--exec", "sh", "-c", &line, "sh"];
    words.extend(["-x", "--pattern", "--exec", "--", "--build", "-v", "a b", "--exec=c"]);
    let running = scene.begin(&words);
    eventually("it has run", || scene.read("printed").ends_with("=c|"));
    crate::harness::process::send(running.pid(), Signal::SIGTERM);
    running.finish(crate::harness::PATIENCE).expect(143);
    assert_eq!(scene.read("printed"), "-x|--pattern|--exec|--|--build|-v|a b|--exec=c|");
}

fn the_form_of_the_original_works() {
    let scene = Scene::new();
    for folder in ["web", "web/scripts"] {
        std::fs::create_dir(scene.path(folder)).unwrap();
    }
    scene.write("web/version", "original");
    let (front, back) = (free_port(), free_port());
    let bind = format!("localhost:{front}");
    let web = scene.path("web");
    let server = format!("127.0.0.1:{back}");
    let back = back.to_string();
    let running = scene.begin(&[
        "dev",
        &bind,
        &back,
        "--pattern",
        "src/**/*",
        "--exclude",
        "src/**/test_*",
        "--exec",
        &suite(),
        "child",
        "web",
        web.to_str().unwrap(),
        &server,
    ]);
    for address in ("localhost", front).to_socket_addrs().unwrap() {
        eventually("it listens", || std::net::TcpStream::connect(address).is_ok());
        let mut client = super::wire::Client::connect(address);
        client.send(&format!("GET / HTTP/1.1\r\nHost: localhost:{front}\r\n\r\n"));
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"original".to_vec()));
    }
    crate::harness::process::send(running.pid(), Signal::SIGINT);
    running.finish(crate::harness::PATIENCE).expect(130);
}

fn a_port_in_use_is_a_failure() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = holder.local_addr().unwrap().to_string();
    let ran = Scene::new().cli(&["dev", &bind, "0", "--exec", "true"]).expect(1).complains();
    ran.says("cannot listen on 127.0.0.1");
}
