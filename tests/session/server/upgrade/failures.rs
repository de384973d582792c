//! New processes that come to nothing: the old one goes on, and says why.

use super::site::{NAME, Site};
use crate::children::successor::line;
use crate::harness::process::{Exit, alive, census};
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, Scene, eventually, scene, trials};
use crate::session::server::client::{Client, Said, Ticket};
use crate::session::server::destination::Destination;
use socket_protector::session::frame::{Mode, Refusal};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

trials![
    a_program_that_cannot_run_changes_nothing,
    a_program_that_says_nothing_or_nonsense_changes_nothing,
    a_process_that_is_killed_at_any_step_changes_nothing,
    sessions_that_may_have_moved_are_lost_and_no_more,
    the_reason_has_what_the_new_process_has_written,
    two_at_once_are_one_and_a_refusal,
    a_stop_ends_an_upgrade_that_is_under_way,
    a_server_that_would_lead_elsewhere_does_not_take_over,
    what_another_version_has_written_is_refused,
    in_the_foreground_it_is_refused,
    an_outer_manager_is_told_which_process_is_the_main_one,
];

/// A client that is there and one that is away.
struct Both {
    here: Client,
    typed: usize,
    away: Ticket,
}

impl Both {
    fn of(site: &Site) -> Both {
        let (here, _) = Client::create(site.address);
        let (mut client, away) = Client::create(site.address);
        client.type_in(b"kept");
        client.expect("kept");
        drop(client);
        site.wait_state(&away, "detached");
        Both { here, typed: 0, away }
    }

    /// They are as they were.
    #[track_caller]
    fn check(&mut self, site: &Site) {
        self.here.type_in(b"hello ");
        self.typed += 6;
        self.here.output_to(self.typed as u64);
        assert_eq!(self.here.output, b"hello ".repeat(self.typed / 6));
        let mut client = Client::come(site.address, &self.away, 0, Mode::Steal);
        client.expect("kept");
        let (mut client, _) = Client::create(site.address);
        client.type_in(b"new");
        client.expect("new");
    }
}

fn a_program_that_cannot_run_changes_nothing() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let mut both = Both::of(&site);
    std::fs::rename(&site.program, site.scene.path("aside")).unwrap();
    site.upgrade_in_vain("cannot find");
    std::fs::write(&site.program, "no program").unwrap();
    site.upgrade_in_vain("cannot execute");
    both.check(&site);
    // And at once it works again, with what is installed then.
    std::fs::rename(site.scene.path("aside"), &site.program).unwrap();
    let new = site.upgrade();
    both.check(&site);
    assert_eq!(std::fs::read_link(format!("/proc/{new}/exe")).unwrap(), site.program);
}

fn says(site: &Site, words: &str) {
    site.scene.write("words", words);
    let words = site.scene.path("words");
    let script = format!("exec {} child successor_says \"$(cat {})\n\"", scene::suite(), words.display());
    site.scene.script("program", &script);
}

fn a_program_that_says_nothing_or_nonsense_changes_nothing() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let mut both = Both::of(&site);
    let before = census(site.pid());
    site.scene.script("program", "exec sleep 1000");
    let upgrades = site.scene.begin(&["upgrade", NAME]);
    // Nothing stands still meanwhile.
    site.wait_log("is getting ready");
    both.check(&site);
    upgrades.finish(PATIENCE * 2).expect(1).complains().says("said nothing for 10s");
    for (words, reason) in [
        ("garbage\n", "not understood"),
        ("{\"ready\":99}\n", "speaks version 99"),
        ("\"taken\"\n", "out of turn"),
        ("{\"failed\":\"no room\"}\n", "cannot take over: no room"),
        ("{\"ready\":2}\n\"taken\"\n", "cannot upgrade"),
        ("{\"ready\":2}\n\"registered\"\n\"what?\"\n", "not understood"),
    ] {
        says(&site, words);
        site.upgrade_in_vain(reason);
        both.check(&site);
    }
    drop(both);
    site.wait_alone(site.pid());
    let after = census(site.pid());
    assert_eq!((after.children, before.children), (0, 0));
}

fn a_process_that_is_killed_at_any_step_changes_nothing() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let mut both = Both::of(&site);
    // The last one stays silent, and is ended.
    for last in 0..=6 {
        site.scene.script("program", &format!("exec {} child successor {last} \"$@\"", scene::suite()));
        site.upgrade_in_vain(if last == 6 { "said nothing" } else { "was ended by SIGKILL" });
        both.check(&site);
    }
    site.scene.copy(scene::binary(), "program");
    site.upgrade();
    both.check(&site);
}

/// Nobody can know what it has read of them.
fn sessions_that_may_have_moved_are_lost_and_no_more() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let Both { mut here, away, .. } = Both::of(&site);
    // It is ended for the third word, and has said the fourth by then.
    says(&site, "{\"ready\":2}\n\"registered\"\n\"what?\"\n\"taken\"\n");
    site.upgrade_in_vain("not understood");
    site.wait_log("the sessions that went to it are lost");
    here.until("the end", |said| *said == Said::End);
    let mut client = Client::connect(site.address);
    assert_eq!(client.resume(&away, 0, Mode::Steal).unwrap_err(), Refusal::Gone);
    destination.wait_open(0);
    let (mut client, _) = Client::create(site.address);
    client.type_in(b"new");
    client.expect("new");
}

fn the_reason_has_what_the_new_process_has_written() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    site.scene.script("program", "seq 1 30; echo no licence >&2; exit 7");
    let ran = site.scene.cli(&["upgrade", NAME]).expect(1).complains();
    let ran = ran.says("the new process exited with status 7").says("no licence").says("22");
    assert!(!ran.err.contains("  21\n"), "the last lines only: {}", ran.err);
    site.wait_log("the upgrade has failed, and this process goes on");
    let told = site.scene.cli(&["upgrade", NAME, "--json"]).expect(1).json();
    assert_eq!((&told["ok"], &told["reason"]), (&false.into(), &"the new process exited with status 7".into()));
}

fn two_at_once_are_one_and_a_refusal() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let mut both = Both::of(&site);
    let (go, real) = (site.scene.path("go"), scene::binary().display().to_string());
    let slow = format!("while [ ! -e {} ]; do sleep 0.05; done; exec {real} \"$@\"", go.display());
    site.scene.script("program", &slow);
    let (old, first) = (site.pid(), site.scene.begin(&["upgrade", NAME]));
    site.wait_log("is getting ready");
    site.scene.cli(&["upgrade", NAME]).expect(1).complains().says("an upgrade is under way already");
    std::fs::write(go, "").unwrap();
    site.upgraded(old, &first.finish(PATIENCE * 2).expect(0));
    both.check(&site);
}

fn a_stop_ends_an_upgrade_that_is_under_way() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    site.scene.script("program", "exec sleep 1000");
    let upgrades = site.scene.begin(&["upgrade", NAME]);
    site.wait_log("is getting ready");
    let pid = site.pid();
    site.scene.cli(&["stop", NAME]).expect(0);
    assert_eq!(site.wait_end(pid), Exit::Code(0));
    upgrades.finish(PATIENCE).expect(1).complains();
    eventually("nothing is left", || site.scene.processes().is_empty());
}

fn a_server_that_would_lead_elsewhere_does_not_take_over() {
    let (destination, other) = (Destination::echo(), Destination::echo());
    let site = Site::to(&destination.endpoint());
    let mut both = Both::of(&site);
    // A program that reads its words in another way.
    let real = scene::binary().display();
    let body = format!(
        "for word; do last=$word; done\nset -- $(echo \"$@\" | sed \"s|$last|{}|\")\nexec {real} \"$@\"",
        other.endpoint()
    );
    site.scene.script("program", &body);
    site.upgrade_in_vain("and this one is to serve");
    both.check(&site);
    assert_eq!(other.accepted(), 0);
}

/// This test as the old process, of another version.
fn what_another_version_has_written_is_refused() {
    let destination = Destination::echo();
    let site = Site::to(&destination.endpoint());
    let file = site.scene.path("plan");
    let suite = scene::suite();
    site.scene.script("program", &format!("exec {suite} child successor_records {}", file.display()));
    site.upgrade_in_vain("exited with status 1");
    let mut plan: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (schema, form, why) in [(2, 9, "it is written in form 9"), (3, 2, "speaks version 3")] {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(scene::binary());
        site.scene.mark(&mut command).args(["--take-over", "session", "server", "--proxy=127.0.0.1:0", "--daemon"]);
        command.arg(destination.endpoint()).stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let mut new = command.spawn().unwrap();
        drop(command);
        plan["schema"] = 2.into();
        writeln!(&stream, "{plan}").unwrap();
        assert_eq!(line(&stream), serde_json::json!({"ready": 2}));
        plan["schema"] = schema.into();
        writeln!(&stream, "{plan}").unwrap();
        (&stream).write_all(&[0, 0, 0, 0, 0, 0, 0, 3, form, 0, 0]).unwrap();
        let said = line(&stream)["failed"].as_str().unwrap().to_owned();
        assert!(said.contains(why), "{said}");
        assert_eq!(new.wait().unwrap().code(), Some(1));
    }
}

/// A server that stays in the foreground.
fn foreground(scene: &Scene, destination: &Destination, watched: Option<&std::path::Path>) -> Running {
    let mut command = Command::new(scene::binary());
    scene.mark(&mut command).args(["session", "server", "--proxy=127.0.0.1:0", "--name", NAME]);
    match watched {
        Some(path) => command.env("NOTIFY_SOCKET", path),
        None => command.env_remove("NOTIFY_SOCKET"),
    };
    command.arg("--pid-file").arg(scene.path("pid"));
    let running = Running::start(command.arg(destination.endpoint()));
    eventually("it can be asked", || {
        scene.path("run/kept.sock").exists() && scene.begin(&["status", NAME]).finish(PATIENCE).exit == Exit::Code(0)
    });
    running
}

fn in_the_foreground_it_is_refused() {
    let (scene, destination) = (Scene::new(), Destination::echo());
    let mut first = foreground(&scene, &destination, None);
    let ran = scene.cli(&["upgrade", NAME]).expect(1).complains();
    ran.says("runs in the foreground").says("hint: start it with --daemon");
    assert!(first.runs());
    scene.cli(&["stop", NAME]).expect(0);
    first.finish(PATIENCE).expect(0);
}

fn an_outer_manager_is_told_which_process_is_the_main_one() {
    let (scene, destination) = (Scene::new(), Destination::echo());
    let path = scene.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 100];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let first = foreground(&scene, &destination, Some(&path));
    assert_eq!(told(), "READY=1");
    for _ in 0..2 {
        scene.cli(&["upgrade", NAME]).expect(0);
        let new = scene.read("pid").trim().to_owned();
        assert_eq!(told(), format!("MAINPID={new}"));
        assert!(alive(nix::unistd::Pid::from_raw(new.parse().unwrap())));
    }
    scene.cli(&["stop", NAME]).expect(0);
    // What the new ones log goes where the first one's went.
    let ran = first.finish(PATIENCE).expect(0);
    eventually("everything has ended", || scene.processes().is_empty());
    assert!(ran.err.contains("upgraded: process"), "{}", ran.err);
    let unit = include_str!("../../../../packaging/systemd/socket-protector-session.service");
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nNotifyAccess=all\n"));
}
