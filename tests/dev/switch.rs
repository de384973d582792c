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
    what_is_started_anew_comes_behind_the_line_that_says_why,
    with_overlap_requests_in_progress_finish_on_the_old_one,
    a_version_that_never_answers_is_given_up,
    the_next_change_repairs_a_failed_one,
    tunnels_end_with_their_server,
    a_post_in_progress_finishes_before_a_restart,
    a_post_that_takes_too_long_for_a_restart_is_lost,
    an_answer_in_progress_finishes_before_a_restart,
    requests_that_race_with_a_restart_get_one_answer,
    requests_that_race_with_a_restart_on_a_fresh_port_get_one_answer,
    requests_that_race_with_a_restart_with_overlap_get_one_answer,
    what_has_no_end_or_can_go_again_holds_no_restart_up,
    requests_wake_nobody_who_decides_while_a_server_answers,
];

const OK: &str = "send HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok";

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
    eventually("two run", || proxy.reloads() == 1 && proxy.servers().len() >= 2);
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

fn what_is_started_anew_comes_behind_the_line_that_says_why() {
    let named = |options: &[&str]| Setup::new().with(&["-v", "--name", "site"]).with(options);
    for (setup, what, each) in [
        (named(&[]).fixed(), "the server", 1),
        (named(&["--overlap"]), "the server", 1),
        (named(&["--build", "echo words of it >&2"]), "the build", 2),
    ] {
        let line = "echo words of it >&2; if [ -e ../broken ]; then echo a mistake >&2; exit 3; fi; exec $WEB";
        let proxy = setup.shell(line).start();
        proxy.wait_version("1");
        let in_turn = |why: &str, generation: usize| {
            proxy.wait_said_often("words of it", generation * each);
            let said = proxy.said();
            let place = |words: &str| said.rfind(words).unwrap_or_else(|| panic!("no {words:?} in {said}"));
            let started = place(&format!("{what} of generation {generation} starts"));
            assert!(place(&format!("reload: {why}")) < started && started < place("words of it"), "{said}");
        };
        proxy.change("2");
        proxy.wait_version("2");
        in_turn("app.py changed", 2);
        proxy.scene.cli(&["reload", "site"]).expect(0);
        in_turn("asked for", 3);
        proxy.scene.write("broken", "");
        proxy.touch("app.py");
        proxy.wait_said("exited with status 3");
        std::fs::remove_file(proxy.scene.path("broken")).unwrap();
        proxy.change("5");
        proxy.wait_version("5");
        in_turn("app.py changed", 5);
    }
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

fn requests_that_race_with_a_restart_get_one_answer() {
    races(Setup::new().fixed());
}

fn requests_that_race_with_a_restart_on_a_fresh_port_get_one_answer() {
    races(Setup::new());
}

fn requests_that_race_with_a_restart_with_overlap_get_one_answer() {
    races(Setup::new().with(&["--overlap"]));
}

/// `DEV_RACES=1000 cargo test --test suite -- dev::switch::requests_that_race` restarts it as often as that.
fn races(setup: Setup) {
    let rounds = std::env::var("DEV_RACES").map_or(10, |count| count.parse::<u32>().unwrap());
    let proxy = setup.with(&["--name", "races"]).start();
    proxy.wait_version("1");
    // Idle for the whole of each restart, and used right behind it.
    let mut kept = proxy.client();
    let (done, answers) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::AtomicU32::new(0));
    std::thread::scope(|scope| {
        for method in ["GET", "PUT", "POST"] {
            let (proxy, done, answers) = (&proxy, &done, &answers);
            scope.spawn(move || {
                let mut client = proxy.client();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    client.send(&format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
                    let head = client.head();
                    let body = client.body(&head);
                    // What may have been done already is lost, and that is told.
                    let fine = head.status == 200 && !body.is_empty() || method == "POST" && head.status == 502;
                    assert!(fine, "{method}: {}", head.text);
                    answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        for _ in 0..rounds {
            proxy.scene.cli(&["reload", "races"]).expect(0);
            kept.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let head = kept.head();
            kept.body(&head);
            assert_eq!(head.status, 200);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(answers.into_inner() > rounds);
}

fn a_post_in_progress_finishes_before_a_restart() {
    for setup in [Setup::new().fixed(), Setup::new()] {
        let proxy = setup.with(&["--stop-timeout", "300s"]).script("slow", &format!("body\nuntil go\n{OK}")).start();
        proxy.wait_version("1");
        let mut post = proxy.client();
        post.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc");
        // One whose body is longer than what is kept is not sent twice, whatever its method says.
        let mut put = proxy.client();
        put.send(&format!(
            "PUT /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n{}",
            "x".repeat(70_000)
        ));
        eventually("both have been read", || proxy.scene.read("web/bodies").len() == 70_003);
        proxy.change("2");
        eventually("it is to end", || proxy.reloads() == 1);
        let mut get = proxy.client();
        get.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        proxy.scene.write("web/go", "");
        for client in [&mut post, &mut put] {
            let head = client.head();
            assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
        }
        let head = get.head();
        assert_eq!((head.status, get.body(&head)), (200, b"2".to_vec()), "who comes after the change waits");
    }
}

fn a_post_that_takes_too_long_for_a_restart_is_lost() {
    let proxy =
        Setup::new().fixed().with(&["--stop-timeout", "300ms"]).script("slow", "note asked\nuntil never").start();
    proxy.wait_version("1");
    let mut post = proxy.client();
    post.send("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    eventually("it is asked", || proxy.scene.path("web/asked").exists());
    proxy.change("2");
    let head = post.head();
    let body = String::from_utf8(post.body(&head)).unwrap();
    assert!(head.status == 502 && body.contains("has not answered"), "{}{body}", head.text);
    proxy.wait_version("2");
}

fn an_answer_in_progress_finishes_before_a_restart() {
    let slow = "send HTTP/1.1 200 OK\\r\\nContent-Length: 7\\r\\n\\r\\nhalf\nuntil go\nsend all";
    let proxy = Setup::new().fixed().with(&["--stop-timeout", "300s"]).script("slow", slow).start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = client.head();
    assert_eq!(client.bytes(4), b"half");
    proxy.change("2");
    eventually("it is to end", || proxy.reloads() == 1);
    proxy.scene.write("web/go", "");
    assert_eq!(client.rest_of(&head, b"half"), b"halfall");
    proxy.wait_version("2");
}

fn what_has_no_end_or_can_go_again_holds_no_restart_up() {
    let switch = "send HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: x\\r\\n\\r\\n\necho";
    let events = "send HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\ndata: 1\\n\\n\nuntil never";
    let proxy = Setup::new()
        .fixed()
        .with(&["--stop-timeout", "300s"])
        .script("ws", switch)
        .script("events", events)
        .script("hangs", "note asked\nuntil never")
        .start();
    proxy.wait_version("1");
    let mut tunnel = proxy.client();
    tunnel.send("GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello");
    assert_eq!(tunnel.head().status, 101);
    assert_eq!(tunnel.bytes(5), b"hello");
    let mut stream = proxy.client();
    stream.send("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(stream.head().status, 200);
    let mut get = proxy.client();
    get.send("GET /hangs HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it is asked", || proxy.scene.path("web/asked").exists());
    std::fs::remove_file(proxy.scene.path("web/scripts/hangs")).unwrap();
    proxy.change("2");
    // It would be 300 s otherwise, which is longer than anybody waits here.
    proxy.wait_version("2");
    let head = get.head();
    assert_eq!((head.status, get.body(&head)), (200, b"2".to_vec()));
    assert_eq!(tunnel.byte(), None);
    assert_eq!(stream.chunks().unwrap().0, b"data: 1\n\n", "it had no length, so that this is its end");
}

fn requests_wake_nobody_who_decides_while_a_server_answers() {
    let proxy = Setup::new().start();
    proxy.wait_version("1");
    // The first thread decides; connections have others.
    let wakes = || {
        let status = std::fs::read_to_string(format!("/proc/{0}/task/{0}/status", proxy.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u32>().unwrap()
    };
    let (before, mut client) = (wakes(), proxy.client());
    for _ in 0..500 {
        client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (200, b"1".to_vec()));
    }
    assert!(wakes() - before < 100, "{} times", wakes() - before);
    proxy.change("2");
    proxy.wait_version("2");
    assert!(wakes() > before, "it does decide");
}
