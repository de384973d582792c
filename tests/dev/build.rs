//! What runs before each start.

use std::fs;

use super::stage::Setup;
use crate::harness::{eventually, trials};

trials![
    the_server_is_what_the_build_has_made,
    a_build_that_fails_keeps_the_server_and_says_so,
    a_first_build_that_fails_is_shown,
    a_change_ends_a_build_and_begins_another,
    what_a_build_leaves_in_its_group_is_ended,
];

/// The version is made of the source.
const BUILD: &str = "cat src > ../web/version";

fn the_server_is_what_the_build_has_made() {
    let setup = Setup::new().fixed().with(&["--build", BUILD, "--pattern", "src"]);
    fs::write(setup.scene().path("site/src"), "one").unwrap();
    let proxy = setup.start();
    proxy.wait_version("one");
    fs::write(proxy.site("src"), "two").unwrap();
    proxy.wait_version("two");
}

fn a_build_that_fails_keeps_the_server_and_says_so() {
    let setup = Setup::new().fixed().with(&["--build", "if [ -e ../broken ]; then echo no such word; exit 2; fi"]);
    let proxy = setup.start();
    proxy.wait_version("1");
    proxy.scene.write("broken", "");
    proxy.change("2");
    proxy.wait_said("the build exited with status 2");
    proxy.wait_said("an older server answers");
    assert_eq!(proxy.get("/"), (200, "1".into()));
    assert!(proxy.scene.read("dev.out").contains("no such word"), "what a build says passes through");
    fs::remove_file(proxy.scene.path("broken")).unwrap();
    proxy.change("3");
    proxy.wait_version("3");
}

fn a_first_build_that_fails_is_shown() {
    let proxy = Setup::new().with(&["--build", "echo no such word; [ -e ../mended ]"]).start();
    eventually("it has failed", || proxy.get("/").0 == 503);
    let (_, body) = proxy.get("/");
    assert!(body.contains("The build exited with status 1") && body.contains("no such word"), "{body}");
    proxy.scene.write("mended", "");
    proxy.change("2");
    proxy.wait_version("2");
}

fn a_change_ends_a_build_and_begins_another() {
    let line = format!("cp src copy.tmp~; touch ../begun; while [ -e ../wait ]; do sleep 0.02; done; {BUILD}");
    let setup = Setup::new().fixed().with(&["--build", &line, "--pattern", "src"]);
    fs::write(setup.scene().path("site/src"), "one").unwrap();
    setup.scene().write("wait", "");
    let proxy = setup.start();
    eventually("the build has begun", || proxy.scene.path("begun").exists());
    fs::remove_file(proxy.scene.path("begun")).unwrap();
    fs::write(proxy.site("src"), "two").unwrap();
    eventually("another has begun", || proxy.scene.path("begun").exists());
    fs::remove_file(proxy.scene.path("wait")).unwrap();
    proxy.wait_version("two");
}

fn what_a_build_leaves_in_its_group_is_ended() {
    let proxy = Setup::new().with(&["--build", "sleep 1000 & true"]).start();
    proxy.wait_version("1");
    assert_eq!(proxy.servers().len(), 1, "only the server runs");
}
