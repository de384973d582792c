//! The server's processes: how they start, what they get, and how they are asked to end.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use super::stage::{Setup, free_port};
use crate::harness::process::Exit;
use crate::harness::{eventually, trials};

trials![
    each_signal_has_its_exit_code_and_leaves_nothing,
    a_second_signal_does_not_wait,
    a_signal_while_it_starts_fails_or_waits_ends_it,
    a_command_that_cannot_run_ends_it_at_the_first_start,
    a_command_that_cannot_run_later_is_a_failed_change,
    one_that_ignores_its_signal_is_killed_in_time,
    the_stop_signal_is_as_asked,
    a_port_that_is_taken_is_refused_with_the_holder,
    the_server_gets_its_port_and_nothing_to_read,
    its_words_pass_byte_for_byte,
    the_ready_path_must_be_answered_well,
    a_server_that_forgets_one_question_is_asked_again,
];

fn each_signal_has_its_exit_code_and_leaves_nothing() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGQUIT, 131)]
    {
        let mut proxy = Setup::new().shell("$WEB & sleep 1000 & wait").start();
        proxy.wait_version("1");
        assert_eq!(proxy.stop(signal), Exit::Code(code));
    }
}

fn a_second_signal_does_not_wait() {
    let setup = Setup::new().with(&["--stop-timeout", "300s"]);
    let web = setup.web("web_stubborn");
    let mut proxy = setup.command(&web.iter().map(String::as_str).collect::<Vec<_>>()).start();
    proxy.wait_version("1");
    proxy.signal(Signal::SIGINT);
    eventually("those who ask are told", || proxy.try_get().is_none_or(|status| status == 503));
    assert_eq!(proxy.stop(Signal::SIGINT), Exit::Code(130));
}

fn a_signal_while_it_starts_fails_or_waits_ends_it() {
    let mut starting = Setup::new().command(&["sleep", "1000"]).start();
    let mut client = starting.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("the server runs", || !starting.servers().is_empty());
    assert_eq!(starting.stop(Signal::SIGTERM), Exit::Code(143));
    assert_eq!(client.head().status, 503, "one who waited is told");
    let mut failed = Setup::new().command(&["false"]).start();
    failed.wait_said("the server exited with status 1");
    assert_eq!(failed.stop(Signal::SIGTERM), Exit::Code(143));
}

fn a_command_that_cannot_run_ends_it_at_the_first_start() {
    for (command, code, words) in
        [("no-such-command", 127, "cannot find no-such-command"), ("/etc/passwd", 126, "cannot execute /etc/passwd")]
    {
        let mut proxy = Setup::new().command(&[command]).start();
        assert_eq!(proxy.wait_exit(), Exit::Code(code));
        assert!(proxy.said().contains(words), "{}", proxy.said());
        proxy.nothing_left();
        let mut built = Setup::new().with(&["--build", "true"]).command(&[command]).start();
        assert_eq!(built.wait_exit(), Exit::Code(code), "a build is no start");
    }
}

fn a_command_that_cannot_run_later_is_a_failed_change() {
    let setup = Setup::new().fixed();
    let web = setup.web("web").join(" ");
    let script = setup.scene().script("serve", &format!("exec {web}"));
    let proxy = setup.command(&[script.to_str().unwrap()]).start();
    proxy.wait_version("1");
    let away = proxy.scene.path("away");
    std::fs::rename(&script, &away).unwrap();
    proxy.change("2");
    eventually("it has failed", || proxy.get("/").0 == 503);
    assert!(proxy.get("/").1.contains("Cannot find"), "{}", proxy.get("/").1);
    std::fs::rename(&away, &script).unwrap();
    proxy.change("3");
    proxy.wait_version("3");
}

fn one_that_ignores_its_signal_is_killed_in_time() {
    for setup in [Setup::new().fixed(), Setup::new().with(&["--overlap"])] {
        let setup = setup.with(&["--stop-timeout", "200ms"]);
        let web = setup.web("web_stubborn");
        let mut proxy = setup.command(&web.iter().map(String::as_str).collect::<Vec<_>>()).start();
        proxy.wait_version("1");
        proxy.change("2");
        proxy.wait_version("2");
        eventually("one is left", || proxy.servers().len() == 1);
        assert_eq!(proxy.stop(Signal::SIGINT), Exit::Code(130));
    }
}

fn the_stop_signal_is_as_asked() {
    let line = "trap 'echo interrupted >&2; exit' INT; $WEB & wait";
    let mut proxy = Setup::new().with(&["--stop-signal", "INT", "--stop-timeout", "1s"]).shell(line).start();
    proxy.wait_version("1");
    proxy.stop(Signal::SIGTERM);
    assert!(proxy.said().contains("interrupted"), "{}", proxy.said());
}

fn a_port_that_is_taken_is_refused_with_the_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let mut proxy = Setup::new().backend(&format!("127.0.0.1:{port}")).start();
    assert_eq!(proxy.wait_exit(), Exit::Code(1));
    let said = proxy.said();
    assert!(
        said.contains(&format!("127.0.0.1:{port} is taken by"))
            && said.contains(&format!("(pid {})", std::process::id())),
        "{said}"
    );
    assert!(said.contains("hint: "), "{said}");
    let ours = Setup::new().front(&format!("127.0.0.1:{port}"));
    assert_eq!(ours.spawn().wait().unwrap().code(), Some(1));
    let said = ours.scene().read("dev.err");
    assert!(said.contains("Address already in use") && said.contains("hint: "), "{said}");
}

fn the_server_gets_its_port_and_nothing_to_read() {
    let line = "echo port $PORT {port} >&2; cat; ls -l /proc/self/fd >&2; exec $WEB";
    let proxy = Setup::new().shell(line).start();
    proxy.wait_version("1");
    let said = proxy.said();
    let ports = said.lines().find_map(|line| line.strip_prefix("port ")).unwrap();
    let (first, second) = ports.split_once(' ').unwrap();
    assert!(first == second && first.parse::<u16>().unwrap() > 0, "{ports}");
    assert!(said.contains(" 0 -> /dev/null"), "{said}");
    assert!(!said.contains(" 4 -> "), "nothing but the standard descriptors and the directory: {said}");
    // A fixed port is told as well.
    let port = free_port();
    let fixed =
        Setup::new().backend(&port.to_string()).command(&["sh", "-c", "echo port $PORT >&2; sleep 1000"]).start();
    fixed.wait_said(&format!("port {port}"));
}

fn its_words_pass_byte_for_byte() {
    let proxy =
        Setup::new().command(&["sh", "-c", r"printf 'a\r\033[31mb\001\377' >&2; printf 'c\000d'; exit 1"]).start();
    eventually("it has failed", || proxy.get("/").0 == 503);
    let said = std::fs::read(proxy.scene.path("dev.err")).unwrap();
    let bytes = b"a\r\x1b[31mb\x01\xff";
    assert!(said.windows(bytes.len()).any(|window| window == bytes), "{}", String::from_utf8_lossy(&said));
    assert_eq!(std::fs::read(proxy.scene.path("dev.out")).unwrap(), b"c\0d");
}

fn the_ready_path_must_be_answered_well() {
    let proxy = Setup::new()
        .with(&["--ready-path", "/health?deep=1"])
        .script("health", "send HTTP/1.1 500 Not Yet\\r\\nContent-Length: 0\\r\\n\\r\\n")
        .start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it was asked twice", || proxy.scene.read("web/heads").matches("GET /health?deep=1 ").count() >= 2);
    assert!(client.is_silent());
    proxy.scene.write("web/scripts/health", "send HTTP/1.1 302 Found\\r\\nContent-Length: 0\\r\\n\\r\\n");
    assert_eq!(client.head().status, 200);
}

fn a_server_that_forgets_one_question_is_asked_again() {
    let proxy = Setup::new().with(&["--ready-path", "/health"]).script("health", "until never").start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it was asked", || proxy.scene.read("web/heads").contains("GET /health "));
    proxy.scene.write("web/scripts/health", "send HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.head().status, 200);
}
