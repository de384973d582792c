//! One version after the other: who answers meanwhile, with overlap and without.

use nix::sys::signal::Signal;

use super::stage::Setup;
use crate::harness::process::Exit;
use crate::harness::{eventually, trials};

trials![
    the_last_version_is_what_answers,
    no_request_fails_while_versions_change,
    with_overlap_the_old_server_answers_until_the_new_one_can,
    with_overlap_a_version_that_fails_leaves_the_old_one,
    with_overlap_requests_in_progress_finish_on_the_old_one,
    a_version_that_never_answers_is_given_up,
    the_next_change_repairs_a_failed_one,
    tunnels_end_with_their_server,
];

fn the_last_version_is_what_answers() {
    let proxy = Setup::new().fixed().start();
    // Whatever is going on at the moment of a change: a start, an end, nothing.
    for version in 2..12 {
        proxy.change(&version.to_string());
        if version % 3 == 0 {
            proxy.wait_version(&version.to_string());
        }
    }
    proxy.wait_version("11");
}

fn no_request_fails_while_versions_change() {
    for setup in [Setup::new().fixed(), Setup::new(), Setup::new().with(&["--overlap"])] {
        let proxy = setup.start();
        proxy.wait_version("1");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = proxy.client();
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
                        let head = client.head();
                        client.body(&head);
                        assert_eq!(head.status, 200, "{}", head.text);
                    }
                });
            }
            for version in 2..8 {
                proxy.change(&version.to_string());
                proxy.wait_version(&version.to_string());
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}

fn with_overlap_the_old_server_answers_until_the_new_one_can() {
    let proxy = Setup::new().with(&["--overlap"]).shell("while [ -e ../wait ]; do sleep 0.02; done; exec $WEB").start();
    proxy.wait_version("1");
    proxy.scene.write("wait", "");
    proxy.change("2");
    eventually("two run", || proxy.reloads() >= 1 && proxy.servers().len() >= 2);
    assert_eq!(proxy.get("/"), (200, "1".into()));
    std::fs::remove_file(proxy.scene.path("wait")).unwrap();
    proxy.wait_version("2");
    eventually("one is left", || proxy.servers().len() == 1);
}

fn with_overlap_a_version_that_fails_leaves_the_old_one() {
    let proxy = Setup::new()
        .with(&["--overlap"])
        .shell("if [ -e ../broken ]; then echo a mistake >&2; exit 1; fi; exec $WEB")
        .start();
    proxy.wait_version("1");
    proxy.scene.write("broken", "");
    proxy.change("2");
    proxy.wait_said("an older server answers");
    assert!(proxy.said().contains("a mistake") && proxy.said().contains("the server exited with status 1"));
    assert_eq!(proxy.get("/"), (200, "1".into()));
    std::fs::remove_file(proxy.scene.path("broken")).unwrap();
    proxy.change("3");
    proxy.wait_version("3");
}

fn with_overlap_requests_in_progress_finish_on_the_old_one() {
    let slow = "send HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nhalf\nnote asked";
    let proxy = Setup::new()
        .with(&["--overlap", "--stop-timeout", "300s"])
        .script("slow", &slow.replace("4\\r", "7\\r").replace("half\n", "half\nnote half\nuntil go\nsend all\n"))
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    eventually("half of it is sent", || proxy.scene.path("web/half").exists());
    proxy.change("2");
    proxy.wait_version("2");
    proxy.scene.write("web/go", "");
    assert_eq!(client.body(&head), b"halfall");
    eventually("the old one ends once it is idle", || proxy.servers().len() == 1);
}

fn a_version_that_never_answers_is_given_up() {
    let mut proxy = Setup::new()
        .fixed()
        .with(&["--ready-timeout", "500ms"])
        .command(&["sh", "-c", "echo stuck >&2; sleep 1000"])
        .start();
    proxy.wait_said("has not answered within 500ms");
    let (status, body) = proxy.get("/");
    assert_eq!(status, 503);
    assert!(body.contains("has not answered within 500ms") && body.contains("stuck"), "{body}");
    eventually("it is ended", || proxy.servers().is_empty());
    assert_eq!(proxy.stop(Signal::SIGINT), Exit::Code(130));
}

fn the_next_change_repairs_a_failed_one() {
    let proxy =
        Setup::new().fixed().shell("if [ -e ../broken ]; then echo a mistake >&2; exit 3; fi; exec $WEB").start();
    proxy.wait_version("1");
    proxy.scene.write("broken", "");
    proxy.change("2");
    eventually("it has failed", || proxy.get("/").0 == 503);
    let (_, body) = proxy.get("/");
    assert!(body.contains("exited with status 3") && body.contains("a mistake"), "{body}");
    std::fs::remove_file(proxy.scene.path("broken")).unwrap();
    proxy.change("3");
    // The browser's next request waits for it.
    assert!([503, 200].contains(&proxy.get("/").0));
    proxy.wait_version("3");
}

fn tunnels_end_with_their_server() {
    let switch = "send HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n\necho";
    let proxy = Setup::new().with(&["--overlap", "--stop-timeout", "300ms"]).script("ws", switch).start();
    proxy.wait_version("1");
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello");
        assert_eq!(client.head().status, 101);
        assert_eq!(client.bytes(5), b"hello");
    }
    proxy.change("2");
    proxy.wait_version("2");
    for client in &mut clients {
        assert_eq!(client.byte(), None);
    }
}
