//! The command line: what it refuses and how, and the commands that only print.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::harness::process::Exit;
use crate::harness::ran::Running;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, Setup, trials};

trials![
    wrong_use_is_refused,
    listen_texts_that_are_no_endpoint_are_refused,
    listen_texts_for_forward_alone_are_refused_by_their_kind,
    wrong_option_values_are_refused,
    roles_that_are_not_there_are_refused,
    socket_paths_that_are_too_long_are_refused,
    a_port_in_use_is_a_failure,
    an_address_that_is_not_ours_is_a_failure,
    the_same_address_twice_is_a_failure,
    help_is_complete,
    version_is_printed,
    completions_are_printed,
    manual_pages_are_written,
    a_closed_stdout_is_no_error,
    commands_for_an_instance_that_is_not_there_fail,
];

/// Runs with these arguments and expects a refusal before anything was started.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let scene = Scene::new();
    let ran = scene.cli(args);
    assert_eq!(ran.exit, Exit::Code(2), "{args:?}: {ran:?}");
    let ran = ran.complains();
    assert_eq!(ran.out, "", "{args:?}");
    ran.err
}

fn wrong_use_is_refused() {
    refused(&[]);
    refused(&["-f", "0"]);
    refused(&["-f", "0", "--"]);
    refused(&["-f", "--", "true"]);
    refused(&["-f", "0", "true"]);
    refused(&["--no-such-option", "0", "--", "true"]);
    refused(&["-f", "-1", "--", "true"]);
    refused(&["reload"]);
    refused(&["stop"]);
    refused(&["status", "--no-such-option"]);
    // Without an instance name, `-f` and daemon are alike.
    refused(&["0", "--"]);
    refused(&["--no-such-option", "--", "true"]);
}

fn listen_texts_that_are_no_endpoint_are_refused() {
    for text in [
        "",
        "70000",
        "65536",
        "99999999999999999999",
        "tcp:",
        "tcp:70000",
        "tcp:x",
        "[::1]",
        "[::1",
        "::1:80",
        "host:",
        ":",
        "tcp:0:nonsense=1",
        "tcp:0:backlog=x",
        "0x10",
        "1 2",
        "=0",
        "a b=0",
        "ssl:0:privateKey=a:certKey=b",
        "haproxy:tcp:0",
        "\u{fc}",
        "127.0.0.1",
    ] {
        let said = refused(&["-f", text, "--", "true"]);
        assert!(!said.trim().is_empty(), "{text:?}");
        refused(&[text, "--", "true"]);
    }
}

fn listen_texts_for_forward_alone_are_refused_by_their_kind() {
    for (kind, text) in [("ssl", "ssl:0:k.pem"), ("haproxy", "haproxy:tcp:0"), ("haproxy", "web=HAProxy:ssl:0")] {
        let said = refused(&["-f", text, "--", "true"]);
        let why =
            format!("an endpoint of kind '{kind}' is for 'forward', since no child can be given it; expected PORT");
        assert!(said.contains(&why), "{said}");
    }
}

fn wrong_option_values_are_refused() {
    for option in [
        "--ready=soon",
        "--ready=alive:",
        "--ready=alive:x",
        "--ready-timeout=10y",
        "--ready-timeout=-1",
        "--ready-timeout=",
        "--drain-signal=NOSUCH",
        "--drain-timeout=later",
        "--stop-timeout=",
        "--respawn-delay=5s",
        "--respawn-delay=5s..1s",
        "--respawn-delay=x..y",
        "--max-respawns=-1",
        "--hold-limit=-1",
        "--hold-limit=x",
        "--backlog=x",
        "--pass=nothing",
        "--orphans=maybe",
        "--orphans=keep",
        "--name=",
        "--name=a/b",
        "--name=forward",
        "--name=a b",
        "--name=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg",
    ] {
        refused(&["-f", option, "0", "--", "true"]);
    }
}

fn roles_that_are_not_there_are_refused() {
    // A word that is no role is a listener, and no good one.
    for word in ["statuss", "start", "relaod"] {
        refused(&[word, "t"]);
    }
}

fn socket_paths_that_are_too_long_are_refused() {
    let scene = Scene::new();
    let long = scene.path(&"d".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let ran = scene.cli(&["-f", "--run-dir", long.to_str().unwrap(), "0", "--", "true"]);
    ran.expect(2).complains();
}

fn a_port_in_use_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = Setup::alone().listen(&[&address]).run();
    ran.expect(1).complains().says("cannot listen on").says(&port).says("Address already in use (os error 98)");
    let setup = Setup::alone().listen(&[&address]).daemon();
    let scene = std::sync::Arc::clone(setup.scene());
    setup.run().expect(1).complains().says("cannot listen on").says("Address already in use (os error 98)");
    assert!(!scene.path("pid").exists(), "the pid file stays behind");
}

fn an_address_that_is_not_ours_is_a_failure() {
    let ran = Setup::alone().listen(&["192.0.2.1:0"]).run();
    ran.expect(1).complains().says("cannot listen on").says("(os error 99)");
}

fn the_same_address_twice_is_a_failure() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ran = Setup::alone().listen(&[&free, &free]).run();
    assert!(ran.exit != Exit::Code(0), "{ran:?}");
    ran.complains();
}

fn help_is_complete() {
    let scene = Scene::new();
    let help = scene.cli(&["--help"]).expect(0).out;
    for option in [
        "--foreground",
        "--pid-file",
        "--name",
        "--pass",
        "--proxy-protocol",
        "--stop-first",
        "--ready",
        "--ready-timeout",
        "--drain-signal",
        "--drain-timeout",
        "--stop-timeout",
        "--respawn-delay",
        "--max-respawns",
        "--hold-limit",
        "--backlog",
        "--log-file",
        "--child-log",
        "--orphans",
        "--watchdog",
        "--run-dir",
    ] {
        assert!(help.contains(option), "{option} is missing: {help}");
    }
    for command in ["status", "reload", "stop", "completions", "man"] {
        assert!(help.contains(command), "{command} is missing: {help}");
        let own = scene.cli(&[command, "--help"]).expect(0);
        assert!(own.out.to_lowercase().contains("usage"), "{own:?}");
    }
    // What is not there yet is not promised either.
    for option in ["--workers", "--guard", "--metrics"] {
        assert!(!help.contains(option), "{option} is promised");
    }
}

fn version_is_printed() {
    let ran = Scene::new().cli(&["--version"]).expect(0);
    assert_eq!(ran.out.trim(), concat!("socket-protector ", env!("CARGO_PKG_VERSION")));
}

fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Scene::new().cli(&["completions", shell]).expect(0);
        assert!(ran.out.contains("socket-protector") && ran.out.contains("drain-timeout"), "{shell}: {}", ran.out);
        assert_eq!(ran.err, "");
    }
    refused(&["completions", "no-such-shell"]);
    refused(&["completions"]);
}

fn manual_pages_are_written() {
    let scene = Scene::new();
    let pages = scene.path("pages");
    std::fs::create_dir(&pages).unwrap();
    scene.cli(&["man", pages.to_str().unwrap()]).expect(0);
    let main = std::fs::read_to_string(pages.join("socket-protector.1")).unwrap();
    assert!(main.contains(".TH") && main.contains("drain\\-timeout"), "{main}");
    assert!(std::fs::read_dir(&pages).unwrap().count() > 3, "a page for each command");
    let missing = scene.path("no/such/place");
    std::fs::write(scene.path("no"), "a file").unwrap();
    scene.cli(&["man", missing.to_str().unwrap()]).expect(1).complains();
}

fn a_closed_stdout_is_no_error() {
    let scene = Scene::new();
    for args in
        [vec!["--help"], vec!["--version"], vec!["completions", "bash"], vec!["status"], vec!["status", "--json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(binary());
        let mut child = scene.mark(&mut command).args(&args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}: {said}");
        assert_eq!(said, "", "{args:?}");
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" --help >&-"]).arg(binary());
    Running::start(&mut shell).finish(PATIENCE).expect(0);
}

fn commands_for_an_instance_that_is_not_there_fail() {
    let scene = Scene::new();
    for args in [&["status", "nobody"][..], &["reload", "nobody"], &["stop", "nobody"], &["status", "nobody", "--json"]]
    {
        scene.cli(args).expect(1).complains().says("nobody");
    }
    // All instances of an empty directory: none, and that is an answer.
    scene.cli(&["status"]).expect(0);
    scene.cli(&["status", "--json"]).expect(0).json();
    scene.cli(&["status", "../../etc/passwd"]).expect(2).complains();
    // A socket file that nobody listens on is no instance.
    drop(std::os::unix::net::UnixListener::bind(scene.path("run/stale.sock")).unwrap());
    scene.cli(&["status", "stale"]).expect(1).complains();
    scene.cli(&["status"]).expect(0);
}
