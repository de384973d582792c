//! What outlasts the process: rules, options, damage, and a disk that takes nothing.

use super::place::{Backend, Place, client, free_source, row};
use crate::harness::process::{Exit, send};
use crate::harness::trials;
use nix::sys::signal::Signal;

trials![
    after_a_kill_the_last_switched_state_is_served,
    a_damaged_file_gives_way_to_the_one_before,
    a_file_of_a_later_version_is_left_alone,
    rules_that_cannot_be_served_are_told_of_and_stay_saved,
    what_cannot_be_saved_is_done_and_told,
    what_could_not_be_saved_is_saved_at_the_end,
    what_cannot_be_saved_to_the_end_is_told_by_the_end,
    a_missing_file_gives_way_to_the_one_before,
    options_are_saved_and_can_be_given_anew,
    a_bare_start_without_rules_fails,
    a_directory_that_is_not_ours_is_refused,
];

fn after_a_kill_the_last_switched_state_is_served() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let ((one, address), (two, other)) = (free_source(), free_source());
    place.start(&one, &a.endpoint());
    place.start(&two, &a.endpoint());
    place.switch(&two, &b.endpoint());
    place.kill();
    assert_eq!(place.run(&["start"]).expect(0).out, "Started\n");
    client(address, "a");
    client(other, "b");
    place.run(&["stop"]).expect(0);
    // To come up and to end are no changes.
    let files = || ["forward.json", "forward.json.previous"].map(|name| place.file(name));
    let before = files();
    place.run(&["start"]).expect(0);
    assert_eq!(files(), before);
    place.run(&["stop", &one]).expect(0);
    place.kill();
    place.run(&["start"]).expect(0);
    assert_eq!(place.rows(), [row(&two, &b.endpoint(), 0, "active")]);
}

fn a_damaged_file_gives_way_to_the_one_before() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.switch(&source, &b.endpoint());
    place.run(&["stop"]).expect(0);
    let whole = place.file("forward.json");
    for damage in [&whole[..whole.len() / 2], "", "garbage"] {
        std::fs::write(place.path("forward.json"), damage).unwrap();
        let ran = place.run(&["start"]).expect(0);
        assert_eq!(ran.out, "Started\n");
        ran.complains().says("damaged").says("before those");
        assert!(place.file("forward.log").contains("damaged"));
        client(address, "a");
        place.run(&["stop"]).expect(0);
    }
    std::fs::write(place.path("forward.json"), "garbage").unwrap();
    std::fs::write(place.path("forward.json.previous"), "garbage").unwrap();
    place.run(&["start"]).expect(1).complains().says("damaged");
    assert_eq!(place.file("forward.json"), "garbage", "what somebody may want to mend is left");
}

fn a_file_of_a_later_version_is_left_alone() {
    let place = Place::new();
    let text = r#"{"schema":2,"rules":[]}"#;
    std::fs::write(place.path("forward.json"), text).unwrap();
    place.run(&["start"]).expect(1).complains().says("version 2");
    assert_eq!(place.file("forward.json"), text);
}

fn rules_that_cannot_be_served_are_told_of_and_stay_saved() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let ((one, _), (two, address)) = (free_source(), free_source());
    place.start(&one, &a.endpoint());
    place.start(&two, &a.endpoint());
    place.run(&["stop"]).expect(0);
    let saved = place.file("forward.json");
    let busy = std::net::TcpListener::bind(address).unwrap();
    place.run(&["start"]).expect(1).complains().says("cannot listen on").says(&two);
    assert_eq!(place.file("forward.json"), saved);
    drop(busy);
    place.run(&["start"]).expect(0);
    client(address, "a");
}

fn what_cannot_be_saved_is_done_and_told() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    // A folder is in the way of the new file; that stops root, too.
    std::fs::create_dir(place.path(".forward.json.new")).unwrap();
    let ran = place.run(&["switch", &source, &b.endpoint()]).expect(0);
    ran.complains().says("cannot save the rules");
    client(address, "b");
    assert!(place.file("forward.json").contains(&a.endpoint()));
    place.wait_log("cannot save the rules");
    std::fs::remove_dir(place.path(".forward.json.new")).unwrap();
    // The next change is saved with this one.
    place.quietly(&["pause", &source]);
    assert!(place.file("forward.json").contains(&b.endpoint()));
    // A start that cannot save does not begin.
    place.run(&["stop"]).expect(0);
    std::fs::create_dir(place.path(".forward.json.new")).unwrap();
    let ran = place.run(&["start", &source, &a.endpoint()]).expect(1).complains();
    ran.says("cannot save the rules");
    assert!(place.file("forward.json").contains(&b.endpoint()));
}

fn options_are_saved_and_can_be_given_anew() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, _) = free_source();
    let options =
        ["start", "--connect-timeout", "7s", "--threads", "1", "--trust", "127.0.0.0/8", &source, &a.endpoint()];
    place.run(&options).expect(0);
    let saved = |place: &Place| serde_json::from_str::<serde_json::Value>(&place.file("forward.json")).unwrap();
    let wanted = serde_json::json!({"connect_timeout": "7s", "threads": 1, "trust": ["127.0.0.0/8"]});
    assert_eq!(saved(&place)["options"], wanted);
    place
        .run(&["start", "--threads", "2", &free_source().0, &a.endpoint()])
        .expect(2)
        .complains()
        .says("running already");
    place.run(&["stop"]).expect(0);
    place.run(&["start", "--connect-timeout", "8s", "--half-closed-timeout", "never"]).expect(0);
    let options = &saved(&place)["options"];
    assert_eq!((&options["connect_timeout"], &options["threads"]), (&"8s".into(), &1.into()));
    assert_eq!(options["half_closed_timeout"], "never");
    for bad in [["--trust", "10.0.0.0/33"], ["--threads", "0"], ["--connect-timeout", "0"], ["--idle-timeout", "soon"]]
    {
        let args = [&["start"], &bad[..], &[source.as_str(), "tcp:h:1"]].concat();
        place.run(&args).expect(2).complains();
    }
}

fn a_bare_start_without_rules_fails() {
    let place = Place::new();
    place.run(&["start"]).expect(1).complains().says("no rules are saved").says("hint:");
    place.run(&["start", "-f"]).expect(1).complains().says("no rules are saved");
}

fn a_directory_that_is_not_ours_is_refused() {
    let (place, a) = (Place::new(), Backend::new("a"));
    let (source, address) = free_source();
    let start = |dir: &str| place.run(&["-d", dir, "start", &source, &a.endpoint()]);
    let link = place.scene.path("link");
    std::os::unix::fs::symlink(place.scene.path("run"), &link).unwrap();
    start(link.to_str().unwrap()).expect(1).complains().says("not a directory");
    let file = place.scene.write("file", "precious");
    start(file.to_str().unwrap()).expect(1).complains();
    start(file.join("below").to_str().unwrap()).expect(1).complains();
    let long = place.scene.path(&"l".repeat(120));
    start(long.to_str().unwrap()).expect(2).complains().says("bytes long");
    // One that is not there is made, with what is above it, for us alone.
    let new = place.scene.path("new/dir");
    start(new.to_str().unwrap()).expect(0);
    client(address, "a");
    place.run(&["-d", new.to_str().unwrap(), "ls"]).expect(0);
    place.run(&["-d", new.to_str().unwrap(), "stop"]).expect(0);
}

/// In the way of every new file of saved rules.
fn obstacle(place: &Place) -> std::path::PathBuf {
    let obstacle = place.path(".forward.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    obstacle
}

fn what_could_not_be_saved_is_saved_at_the_end() {
    for by_signal in [false, true] {
        let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
        let (source, address) = free_source();
        place.start(&source, &a.endpoint());
        let obstacle = obstacle(&place);
        place.run(&["switch", &source, &b.endpoint()]).expect(0).complains().says("cannot save the rules");
        std::fs::remove_dir(obstacle).unwrap();
        let pid = place.pid();
        if by_signal {
            send(pid, Signal::SIGTERM);
        } else {
            assert_eq!(place.run(&["stop"]).expect(0).err, "");
        }
        assert_eq!(place.wait_end(pid), Exit::Code(0));
        assert!(place.file("forward.json").contains(&b.endpoint()));
        place.run(&["start"]).expect(0);
        client(address, "b");
    }
}

fn what_cannot_be_saved_to_the_end_is_told_by_the_end() {
    for by_signal in [false, true] {
        let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
        let (source, _) = free_source();
        place.start(&source, &a.endpoint());
        let before = place.file("forward.json");
        obstacle(&place);
        place.run(&["switch", &source, &b.endpoint()]).expect(0).complains();
        let pid = place.pid();
        if by_signal {
            send(pid, Signal::SIGTERM);
        } else {
            let ran = place.run(&["stop"]).expect(1).complains().says("cannot save the rules");
            assert_eq!(ran.out, "Stopped\n");
        }
        assert_eq!(place.wait_end(pid), Exit::Code(1));
        assert_eq!(place.file("forward.json"), before);
    }
}

fn a_missing_file_gives_way_to_the_one_before() {
    let (place, a, b) = (Place::new(), Backend::new("a"), Backend::new("b"));
    let (source, address) = free_source();
    place.start(&source, &a.endpoint());
    place.switch(&source, &b.endpoint());
    place.run(&["stop"]).expect(0);
    std::fs::remove_file(place.path("forward.json")).unwrap();
    let ran = place.run(&["start"]).expect(0);
    assert_eq!(ran.out, "Started\n");
    ran.complains().says("forward.json are missing").says("before those");
    assert!(place.file("forward.log").contains("forward.json are missing"));
    client(address, "a");
    assert!(place.file("forward.json").contains(&a.endpoint()));
}
