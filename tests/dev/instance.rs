//! The instance: its name, its control socket, and what can be asked of it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use super::stage::{Proxy, Setup};
use crate::harness::process::Exit;
use crate::harness::ran::{Ran, Running};
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, eventually, trials, until};

trials![
    a_status_tells_how_it_is,
    a_status_tells_what_went_wrong,
    a_status_tells_who_waits,
    a_status_counts_those_who_came_while_a_server_answered,
    a_status_is_shown_again_until_the_instance_ends,
    a_reload_waits_until_the_new_server_answers,
    a_reload_that_fails_says_why,
    a_reload_that_takes_too_long_goes_on,
    a_reload_is_refused_another_command,
    a_stop_waits_until_nothing_is_left,
    a_second_stop_waits_for_the_same_end,
    a_stop_ends_a_reload_that_waits,
    a_name_has_one_instance,
    a_name_that_nobody_chose_makes_way,
    a_control_socket_that_was_removed_is_made_again,
    a_control_socket_is_for_its_user_alone,
    a_run_directory_that_cannot_be_used_is_refused,
];

const OK: &str = "send HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok";

impl Proxy {
    /// `socket-protector ARGS` in its run directory.
    fn cli(&self, args: &[&str]) -> Ran {
        self.scene.cli(args)
    }

    #[track_caller]
    fn status(&self, name: &str) -> serde_json::Value {
        self.cli(&["status", name, "--json"]).expect(0).json()
    }
}

fn named() -> Setup {
    Setup::new().with(&["--name", "site"])
}

fn a_status_tells_how_it_is() {
    let proxy = Setup::new().start();
    proxy.wait_version("1");
    let name = format!("dev-{}", proxy.address.port());
    let status = proxy.status(&name);
    let pid = proxy.servers()[0].as_raw();
    for (key, value) in [
        ("schema", json!(1)),
        ("role", json!("dev")),
        ("name", json!(name)),
        ("pid", json!(proxy.pid().as_raw())),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("phase", json!("up")),
        ("failed", json!(false)),
        ("generation", json!(1)),
        ("listeners", json!([{"address": format!("http://{}", proxy.address)}])),
        ("backend", json!("127.0.0.1:{port}")),
        ("restarts", json!(0)),
        ("held", json!(0)),
        ("in_progress", json!(0)),
        ("last_change", json!(null)),
        ("last_failure", json!(null)),
    ] {
        assert_eq!(status[key], value, "{key} in {status}");
    }
    assert_eq!(
        (&status["generations"][0]["phase"], &status["generations"][0]["pid"]),
        (&json!("serving"), &json!(pid))
    );
    assert!(status["generations"][0]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{status}");
    proxy.change("2");
    proxy.wait_version("2");
    let status = proxy.status(&name);
    let told = (&status["generation"], &status["restarts"], &status["last_change"]);
    assert_eq!(told, (&json!(2), &json!(1), &json!("app.py")));
    let words = proxy.cli(&["status", &name]).expect(0).out;
    let first = format!("{name} (pid {}) leads from http://{} to 127.0.0.1:{{port}} for ", proxy.pid(), proxy.address);
    assert!(words.starts_with(&first) && words.contains("\ngeneration 2 is up\n"), "{words}");
    assert!(words.contains("\nrestarts 1, requests held 0, in progress 0\n") && words.contains("last change: app.py"));
    let table = proxy.cli(&["status"]).expect(0).out;
    let row = table.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{table}"));
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!((cells[1], cells[5], cells[6]), ("dev", format!("http://{}", proxy.address).as_str(), "2"), "{table}");
}

fn a_status_tells_what_went_wrong() {
    let proxy = named().shell("if [ -e ../broken ]; then echo a mistake >&2; exit 3; fi; exec $WEB").start();
    proxy.wait_version("1");
    proxy.scene.write("broken", "");
    proxy.touch("app.py");
    eventually("it has failed", || proxy.status("site")["phase"] == "failed");
    let status = proxy.status("site");
    assert_eq!((&status["failed"], &status["generations"]), (&json!(true), &json!([])));
    assert_eq!(status["last_failure"]["summary"], "the server exited with status 3");
    assert_eq!(status["last_failure"]["lines"], json!(["a mistake"]));
    std::fs::remove_file(proxy.scene.path("broken")).unwrap();
    proxy.change("2");
    proxy.wait_version("2");
    let status = proxy.status("site");
    assert_eq!((&status["failed"], &status["phase"]), (&json!(false), &json!("up")));
    assert_eq!(status["last_failure"]["summary"], "the server exited with status 3", "what is over is told still");
    let words = proxy.cli(&["status", "site"]).expect(0).out;
    assert!(words.contains("last failure: the server exited with status 3, ") && words.contains("\n  a mistake\n"));
}

fn a_status_tells_who_waits() {
    let proxy = named()
        .shell("while [ ! -e ../go ]; do sleep 0.02; done; exec $WEB")
        .script("slow", "note asked\nuntil never")
        .start();
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    eventually("three wait", || proxy.status("site")["held"] == 3);
    let status = proxy.status("site");
    assert_eq!((&status["phase"], &status["generations"][0]["phase"]), (&json!("starting"), &json!("starting")));
    proxy.scene.write("go", "");
    eventually("the server has them", || proxy.status("site")["in_progress"] == 3);
    assert_eq!(proxy.status("site")["held"], 0);
}

fn a_status_counts_those_who_came_while_a_server_answered() {
    for options in [&[][..], &["--overlap"]] {
        let slow = format!("note asked\nuntil go\n{OK}");
        let proxy = named().with(options).script("slow", &slow).start();
        proxy.wait_version("1");
        let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| client.send("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        eventually("the server has them", || proxy.status("site")["in_progress"] == 3);
        let words = proxy.cli(&["status", "site"]).expect(0).out;
        assert!(words.contains("\nrestarts 0, requests held 0, in progress 3\n"), "{words}");
        proxy.scene.write("web/go", "");
        for client in &mut clients {
            let head = client.head();
            assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
        }
        eventually("it has none", || proxy.status("site")["in_progress"] == 0);
    }
}

fn a_status_is_shown_again_until_the_instance_ends() {
    let mut proxy = named().start();
    proxy.wait_version("1");
    let out = std::fs::File::create(proxy.scene.path("watched")).unwrap();
    let mut command = Command::new(binary());
    let watching = proxy.scene.mark(command.args(["status", "site", "--json", "--watch"]).stdout(out)).spawn();
    let mut watching = watching.unwrap();
    eventually("it is shown twice", || proxy.scene.read("watched").lines().count() >= 2);
    assert_eq!(proxy.stop(Signal::SIGTERM), Exit::Code(143));
    let status =
        until("the watch ends", PATIENCE, || watching.try_wait().unwrap().ok_or_else(|| "it goes on".to_owned()));
    assert!(status.success());
    for line in proxy.scene.read("watched").lines() {
        assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap()["name"], "site");
    }
}

fn a_reload_waits_until_the_new_server_answers() {
    for options in [&[][..], &["--overlap"]] {
        let proxy = named().with(options).start();
        proxy.wait_version("1");
        let before = proxy.servers();
        proxy.version("2");
        let ran = proxy.cli(&["reload", "site"]).expect(0);
        assert!(ran.out.starts_with("generation 2 serves after ") && ran.out.ends_with(" ms\n"), "{}", ran.out);
        assert_eq!(proxy.get("/"), (200, "2".into()));
        eventually("the old one has gone", || proxy.servers().iter().all(|pid| !before.contains(pid)));
        proxy.wait_said("reload: asked for");
        let ran = proxy.cli(&["reload", "site", "--json"]).expect(0).json();
        assert_eq!((&ran["ok"], &ran["generation"]), (&json!(true), &json!(3)));
    }
}

fn a_reload_that_fails_says_why() {
    let line = "if [ -e ../broken ]; then echo a mistake >&2; exit 3; fi; exec $WEB";
    for options in [&[][..], &["--overlap"]] {
        let proxy = named().with(options).shell(line).start();
        proxy.wait_version("1");
        proxy.scene.write("broken", "");
        let ran = proxy.cli(&["reload", "site"]).expect(1);
        assert!(ran.err.contains("cannot reload site: the server exited with status 3"), "{}", ran.err);
        assert!(ran.err.contains("a mistake"), "{}", ran.err);
        let (status, phase) = if options.is_empty() { (503, "failed") } else { (200, "up") };
        assert_eq!((proxy.get("/").0, &proxy.status("site")["phase"]), (status, &json!(phase)));
        std::fs::remove_file(proxy.scene.path("broken")).unwrap();
        proxy.cli(&["reload", "site"]).expect(0);
        assert_eq!(proxy.get("/").0, 200);
    }
}

fn a_reload_that_takes_too_long_goes_on() {
    let proxy = named().shell("while [ -e ../wait ]; do sleep 0.02; done; exec $WEB").start();
    proxy.wait_version("1");
    proxy.scene.write("wait", "");
    proxy.version("2");
    let ran = proxy.cli(&["reload", "site", "--timeout", "300ms"]).expect(3);
    assert!(ran.err.contains("the reload of site is not done after 300ms; it goes on"), "{}", ran.err);
    std::fs::remove_file(proxy.scene.path("wait")).unwrap();
    proxy.wait_version("2");
}

fn a_reload_is_refused_another_command() {
    let proxy = named().start();
    proxy.wait_version("1");
    let ran = proxy.cli(&["reload", "site", "--", "sleep", "1"]).expect(1);
    assert!(ran.err.contains("runs the command that it was started with"), "{}", ran.err);
    assert_eq!(proxy.status("site")["generation"], 1);
}

fn a_stop_waits_until_nothing_is_left() {
    let mut proxy = named().start();
    proxy.wait_version("1");
    assert!(proxy.scene.path("run/site.sock").exists());
    proxy.cli(&["stop", "site"]).expect(0);
    assert!(proxy.scene.processes().iter().all(|pid| *pid == proxy.pid()), "it may be not reaped yet");
    assert_eq!(proxy.wait_exit(), Exit::Code(0));
    let left: Vec<_> = std::fs::read_dir(proxy.scene.path("run")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let ran = proxy.cli(&["stop", "site"]).expect(1);
    assert!(ran.err.contains("no instance named site is running"), "{}", ran.err);
}

fn a_second_stop_waits_for_the_same_end() {
    let setup = named().with(&["--stop-timeout", "300s"]);
    let command = setup.web("web_stubborn");
    let mut proxy = setup.command(&command.iter().map(String::as_str).collect::<Vec<_>>()).start();
    proxy.wait_version("1");
    let mut stops: Vec<Running> = (0..2).map(|_| proxy.scene.begin(&["stop", "site"])).collect();
    eventually("it stops", || proxy.status("site")["phase"] == "stopping");
    // Whoever asks for the status is behind both; had the second one killed the server, all would be over.
    for _ in 0..5 {
        assert_eq!(proxy.status("site")["generations"][0]["phase"], "stopping");
    }
    assert!(stops.iter_mut().all(Running::runs));
    let server = proxy.servers().into_iter().find(|pid| !stops.iter().any(|stop| stop.pid() == *pid)).unwrap();
    crate::harness::process::send(server, Signal::SIGKILL);
    stops.into_iter().for_each(|stop| drop(stop.finish(PATIENCE).expect(0)));
    assert_eq!(proxy.wait_exit(), Exit::Code(0));
}

fn a_stop_ends_a_reload_that_waits() {
    let mut proxy = named().shell("while [ -e ../wait ]; do sleep 0.02; done; exec $WEB").start();
    proxy.wait_version("1");
    proxy.scene.write("wait", "");
    let reload = proxy.scene.begin(&["reload", "site"]);
    eventually("it starts", || proxy.status("site")["phase"] == "starting");
    proxy.cli(&["stop", "site"]).expect(0);
    let ran = reload.finish(PATIENCE).expect(1);
    assert!(ran.err.contains("cannot reload site: it ends"), "{}", ran.err);
    assert_eq!(proxy.wait_exit(), Exit::Code(0));
}

fn a_name_has_one_instance() {
    let proxy = named().start();
    proxy.wait_version("1");
    let pid = proxy.pid();
    let ran =
        proxy.cli(&["dev", "127.0.0.1:0", "{port}", "--no-livereload", "--name", "site", "--exec", "true"]).expect(1);
    assert!(ran.err.contains(&format!("an instance named site is already running (pid {pid})")), "{}", ran.err);
    assert!(ran.err.contains("hint: --name gives this one another name"), "{}", ran.err);
    assert_eq!(proxy.status("site")["pid"], pid.as_raw(), "the first one is found still");
    let bad = proxy.cli(&["dev", "0", "0", "--name", "a/b", "--exec", "true"]).expect(2);
    assert!(bad.err.contains("not an instance name"), "{}", bad.err);
    let long = "n".repeat(64);
    let deep = proxy.scene.path(&format!("run/{}", "d".repeat(50)));
    let words = ["dev", "0", "0", "--run-dir", deep.to_str().unwrap(), "--name", &long, "--exec", "true"];
    assert!(proxy.cli(&words).expect(2).err.contains("at most 107 are possible"));
}

fn a_name_that_nobody_chose_makes_way() {
    let first = Setup::new().livereload().start();
    first.wait_version("1");
    let port = first.address.port();
    let scene = std::sync::Arc::clone(&first.scene);
    let address = format!("127.0.0.1:{port}");
    let words = ["dev", &address, "{port}", "--no-livereload", "--exec", "sleep", "1000"];
    let second = scene.begin(&words);
    let name = format!("dev-{port}-{}", second.pid());
    eventually("it is found by its pid", || scene.path(&format!("run/{name}.sock")).exists());
    assert_eq!(first.status(&name)["listeners"][0]["address"], format!("http://{address}"));
    assert_eq!(first.status(&format!("dev-{port}"))["pid"], first.pid().as_raw());
    scene.cli(&["stop", &name]).expect(0);
    second.finish(PATIENCE).expect(0);
}

fn a_control_socket_that_was_removed_is_made_again() {
    let proxy = named().start();
    proxy.wait_version("1");
    std::fs::remove_file(proxy.scene.path("run/site.sock")).unwrap();
    eventually("it is made again", || proxy.cli(&["status", "site"]).exit == Exit::Code(0));
    proxy.cli(&["reload", "site"]).expect(0);
}

fn a_control_socket_is_for_its_user_alone() {
    let proxy = named().wrap(&["sh", "-c", "umask 000; exec \"$0\" \"$@\""]).start();
    proxy.wait_version("1");
    let mode = |name: &str| std::fs::metadata(proxy.scene.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run"), mode("run/site.sock"), mode("run/site.lock")), (0o700, 0o600, 0o600));
}

fn a_run_directory_that_cannot_be_used_is_refused() {
    let setup = Setup::new();
    let scene = setup.scene();
    let file = scene.write("file", "");
    let words = ["dev", "127.0.0.1:0", "0", "--no-livereload", "--run-dir", file.to_str().unwrap(), "--exec", "true"];
    let ran = scene.cli(&words).expect(1);
    assert!(ran.err.contains("is not a directory") && ran.err.contains("hint: --run-dir names another"), "{}", ran.err);
}
