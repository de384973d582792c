//! The words of `forward`: help, completions, manual pages, wrong use.

use super::place::{Backend, Client, MOMENT, Place, client, free_port, free_source};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, Scene, eventually, scene, stays, trials};
use nix::fcntl::{Flock, FlockArg};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

trials![
    what_is_for_the_start_alone_is_refused_for_one_that_runs,
    a_start_that_was_overtaken_passes_a_warning_on,
    help_is_complete,
    completions_and_manual_pages_know_it,
    a_bad_endpoint_has_a_mark_under_its_place,
    ls_with_v_tells_more,
    ls_with_v_tells_rates_and_ages,
    each_connection_s_end_is_told_where_more_is_to_be_told,
    options_of_others_are_refused,
    the_directory_may_stand_anywhere,
    the_commands_of_the_readme_run_as_they_stand,
    the_systemd_unit_starts_what_its_comment_prepares,
    time_limits_reach_the_connections,
    clients_beyond_the_limit_of_connections_wait,
];

fn help_is_complete() {
    let scene = Scene::new();
    let help = scene.cli(&["forward", "--help"]).expect(0).out;
    for word in ["start", "switch", "ls", "wait", "stop", "pause", "resume", "-d", "haproxy:", "tls:", "Exit codes"] {
        assert!(help.contains(word), "{word} is missing: {help}");
    }
    for (command, words) in [
        (
            "start",
            &[
                "--foreground",
                "--connect-timeout",
                "--trust",
                "--threads",
                "--max-connections",
                "--proxy-header-timeout",
                "With -v the log",
            ][..],
        ),
        ("switch", &["--probe", "--guard", "--weight", "--no-wait"]),
        ("ls", &["--json"]),
        ("wait", &["--timeout"]),
        ("stop", &["--drain"]),
        ("pause", &["SRC"]),
        ("resume", &["SRC"]),
    ] {
        let help = scene.cli(&["forward", command, "--help"]).expect(0).out;
        words.iter().for_each(|word| assert!(help.contains(word), "{word} is missing: {help}"));
    }
    assert!(scene.cli(&["--help"]).expect(0).out.contains("forward"));
}

fn completions_and_manual_pages_know_it() {
    let scene = Scene::new();
    let script = scene.cli(&["completions", "bash"]).expect(0).out;
    assert!(script.contains("half-closed-timeout") && script.contains("forward"), "{script}");
    let pages = scene.path("pages");
    scene.cli(&["man", pages.to_str().unwrap()]).expect(0);
    let page = std::fs::read_to_string(pages.join("socket-protector-forward-switch.1")).unwrap();
    assert!(page.contains("\\-\\-guard"), "{page}");
}

fn a_bad_endpoint_has_a_mark_under_its_place() {
    let place = Place::new();
    let ran = place.run(&["switch", "tcp:9000", "tcp:host=127.0.0.1:port=75000"]).expect(2).complains();
    let lines = ran.err.lines().collect::<Vec<_>>();
    let mark = lines.iter().position(|line| line.trim_start_matches([' ', '|']) == "^").expect("a mark");
    assert_eq!(&lines[mark - 1][lines[mark].find('^').unwrap()..], "75000", "{}", ran.err);
    assert_eq!(ran.out, "");
}

fn ls_with_v_tells_more() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let _held = client(address, "a");
    let ran = place.run(&["ls", "-v"]).expect(0);
    for word in ["failures", "100%", "8B", "6B", "1 copy", &address.to_string()] {
        assert!(ran.out.contains(word), "{word} is missing: {}", ran.out);
    }
    let paths = &place.run(&["ls", "-v", "--json"]).expect(0).json()["rules"][0]["destinations"][0]["paths"];
    assert_eq!(paths, &serde_json::json!({"setting_up": 0, "copy": 1, "splice": 0, "tls": 0}));
    assert!(place.list()["rules"][0]["destinations"][0].get("paths").is_none());
}

fn ls_with_v_tells_rates_and_ages() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    let columns = || {
        let shown = place.run(&["ls", "-v"]).expect(0).out;
        let (head, row) = shown.split_once('\n').unwrap();
        // Columns begin where their heads do.
        let column = |name: &str| row[head.find(name).unwrap()..].split(' ').next().unwrap().to_owned();
        (column("rate"), column("age"))
    };
    assert_eq!(columns().0, "0B/s");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let asks = std::thread::spawn(move || {
        let mut client = client(address, "a");
        while !is_over.load(Ordering::SeqCst) {
            client.ask("a");
        }
    });
    eventually("it tells what goes, and of what age it is", || {
        let (rate, age) = columns();
        rate.ends_with("B/s") && rate != "0B/s" && age.ends_with('s') && age != "0s"
    });
    over.store(true, Ordering::SeqCst);
    asks.join().unwrap();
}

fn each_connection_s_end_is_told_where_more_is_to_be_told() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.run(&["start", "-v", &source, &a.endpoint()]).expect(0);
    let told = |client: u16, backend: &Backend, how: &str| {
        format!("{source}: 127.0.0.1:{client} to {} {how} after ", backend.endpoint())
    };
    let (mut ends, mut last) = (client(address, "a"), client(address, "a"));
    ends.end();
    place.wait_log(&told(ends.local_port(), &a, "has finished"));
    let log = place.file("forward.log");
    let line = log.lines().find(|line| line.contains("has finished")).unwrap();
    assert!(line.contains(" DEBUG ") && line.ends_with("s, 6 bytes in, 8 bytes out"), "{line}");
    // The last one of a former destination, in the process that has taken over.
    place.switch(&source, &b.endpoint());
    place.restart();
    last.ask("a");
    let port = last.local_port();
    drop(last);
    place.wait_log(&told(port, &a, "has finished"));
    b.close();
    let mut refused = Client::connect(address);
    refused.ends();
    place.wait_log(&told(refused.local_port(), &b, "was not connected"));
    // By those who are cut with their rule, too.
    place.switch(&source, &a.endpoint());
    let cut = client(address, "a");
    place.run(&["stop", &source]).expect(0);
    place.wait_log(&told(cut.local_port(), &a, "was cut"));
    place.run(&["stop"]).expect(0);
    // And not without being asked for.
    std::fs::remove_file(place.path("forward.log")).unwrap();
    place.start(&source, &a.endpoint());
    client(address, "a").end();
    place.run(&["stop"]).expect(0);
    let log = place.file("forward.log");
    assert!(log.contains("stopped") && !log.contains("has finished"), "{log}");
}

fn options_of_others_are_refused() {
    let place = Place::new();
    place.scene.cli(&["--pid-file", "/x", "forward", "ls"]).expect(2).complains();
    place.run(&["ls", "--timeout", "1s"]).expect(2).complains();
    place.run(&["stop", "--drain", "soon"]).expect(2).complains();
    place.run(&["wait", "a", "b"]).expect(2).complains();
    place.run(&["start", "tcp:1", "tcp:h:1", "tcp:h:2"]).expect(2).complains();
}

fn the_directory_may_stand_anywhere() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let dir = place.scene.path("elsewhere");
    let dir = dir.to_str().unwrap();
    place.run(&["-d", dir, "start", &source, &a.endpoint()]).expect(0);
    client(address, "a");
    for args in [&["-d", dir, "ls"][..], &["ls", "-d", dir], &["--basedir", dir, "ls"]] {
        assert!(place.run(args).expect(0).out.contains(&source));
    }
    let ran = place.scene.cli(&["--run-dir", dir, "forward", "ls"]).expect(0);
    assert!(ran.out.contains(&source));
    place.run(&["ls"]).expect(1).complains();
    place.run(&["-d", dir, "stop"]).expect(0);
}

/// A file of the project.
fn page(name: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Runs a text as a shell does, with the program under test in its path.
fn shell(place: &Place, text: &str) -> crate::harness::Ran {
    let folder = scene::binary().parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-e", "-u", "-c", text]).env("PATH", path);
    Running::start(place.scene.mark(&mut command)).finish(PATIENCE * 2)
}

fn the_commands_of_the_readme_run_as_they_stand() {
    let readme = page("README.md");
    let block = readme.split("```sh\n").find(|block| block.starts_with("socket-protector forward start")).unwrap();
    let block = block.split("```").next().unwrap();
    let place = Place::new();
    let mut text = block.to_owned();
    for port in ["9000", "7500", "7501"] {
        assert!(text.contains(port), "{text}");
        text = text.replace(port, &free_port().to_string());
    }
    let ran = shell(&place, &text).expect(0);
    let rows = ran.out.lines().filter(|line| line.ends_with(" 0 active")).count();
    assert!(ran.out.starts_with("Started\n") && ran.out.ends_with("Stopped\n") && rows == 1, "{ran:?}");
    assert_eq!(ran.err, "");
}

fn the_systemd_unit_starts_what_its_comment_prepares() {
    let unit = page("packaging/systemd/socket-protector-forward.service");
    let value = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.to_owned()
    };
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let state = place.scene.path("state");
    let here = |text: &str| {
        let text = text.replace("/var/lib/socket-protector", state.to_str().unwrap());
        let text = text.replace("/usr/local/bin/", "").replace("tcp:80 ", &format!("{source} "));
        text.replace("tcp:10.0.0.1:8080", &a.endpoint())
    };
    let comments = unit.lines().filter_map(|line| line.strip_prefix("#   "));
    let prepare = comments.map(|line| here(line) + "\n").collect::<String>();
    assert_eq!(prepare.lines().count(), 2, "{prepare}");
    shell(&place, &prepare).expect(0);
    shell(&place, &here(&value("ExecStart="))).expect(0);
    client(address, "a");
    let pid = std::fs::read_to_string(here(&value("PIDFile="))).unwrap();
    assert_eq!(value("Type="), "forking");
    shell(&place, &here(&value("ExecReload=")).replace("$MAINPID", pid.trim())).expect(0);
    client(address, "a");
    shell(&place, &format!("kill {pid}")).expect(0);
}

fn time_limits_reach_the_connections() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    place.run(&["start", "--idle-timeout", "400ms", &source, &a.endpoint()]).expect(0);
    let mut idle = client(address, "a");
    idle.ends();
    place.run(&["stop"]).expect(0);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let destination = silent.local_addr().unwrap().to_string();
    place.run(&["start", "--half-closed-timeout", "400ms", &source, &destination]).expect(0);
    let (mut open, mut half) = (super::place::Client::connect(address), super::place::Client::connect(address));
    let (first, _) = silent.accept().unwrap();
    let (second, _) = silent.accept().unwrap();
    half.send("all\n");
    half.end();
    // The other one has no limit, and is there still.
    open.send("hello\n");
    drop((first, second));
    open.ends();
}

fn what_is_for_the_start_alone_is_refused_for_one_that_runs() {
    let (place, a) = (Place::new(), Backend::new("a"));
    place.start(&free_source().0, &a.endpoint());
    let (source, address) = free_source();
    for option in [["--log-file", "other.log"], ["--threads", "2"], ["--idle-timeout", "1m"]] {
        let ran = place.run(&["start", option[0], option[1], &source, &a.endpoint()]).expect(2).complains();
        ran.says(option[0]).says("running already");
        assert_eq!(place.rows().len(), 1);
    }
    // How much is logged is no reason to refuse, since those options are everywhere.
    let ran = place.run(&["start", "-v", &source, &a.endpoint()]).expect(0).complains();
    assert_eq!(ran.out, "Started\n");
    ran.says("-v").says("running already");
    client(address, "a");
}

/// This trial is the other forwarder, which has the pid file and, later, the control socket.
fn a_start_that_was_overtaken_passes_a_warning_on() {
    let place = Place::new();
    let file = std::fs::File::create(place.path("forward.pid")).unwrap();
    let _lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    let starts = place.begin(&["start", &free_source().0, "tcp:127.0.0.1:1"]);
    // It has found nobody to ask, and is in the background by now.
    eventually("it has gone on", || place.scene.processes().len() > 1);
    let listener = UnixListener::bind(place.path("forward.sock")).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    (&stream).write_all(b"{\"ok\":true,\"result\":{\"warning\":\"done, but not saved\"}}\n").unwrap();
    let ran = starts.finish(PATIENCE).expect(0).complains().says("done, but not saved");
    assert_eq!(ran.out, "Started\n");
}

fn clients_beyond_the_limit_of_connections_wait() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let ((source, address), (other, behind)) = (free_source(), free_source());
    place.run(&["start", "--max-connections", "1", &source, &a.endpoint()]).expect(0);
    place.start(&other, &a.endpoint());
    place.run(&["start", "--max-connections", "2", &free_source().0, &a.endpoint()]).expect(2).says("running already");
    place.run(&["start", "--max-connections", "0", &free_source().0, &a.endpoint()]).expect(2).complains();
    let mut one = client(address, "a");
    let mut two = Client::connect(behind);
    two.send("hello\n");
    place.wait_log(&format!("{other}: as many connections as there may be; further clients wait"));
    stays("it waits", MOMENT, || a.accepted() == 1);
    place.restart();
    one.ask("a");
    stays("it waits for the new process, too", MOMENT, || a.accepted() == 1);
    drop(one);
    assert_eq!(two.line(), "a hello");
    drop(two);
    place.run(&["stop"]).expect(0);
    // A limit that is saved holds after a bare start.
    place.run(&["start"]).expect(0);
    let _one = client(address, "a");
    let mut two = Client::connect(behind);
    two.send("hello\n");
    stays("it waits", MOMENT, || a.accepted() == 3);
}
