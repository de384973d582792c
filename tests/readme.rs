//! The README says what is so: its example compiles, its options exist, its links lead somewhere, its commands run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::ran::Running;
use crate::harness::scene::binary;
use crate::harness::{PATIENCE, Scene, eventually, trials, trials_with};

trials![the_example_is_the_one_that_is_compiled, the_options_are_those_of_the_help, links_lead_somewhere];

trials_with!["nc -h 2>&1 | grep -q -e -N" => commands_run_as_they_stand];

/// Those and the commands, which need OpenBSD's netcat.
pub(crate) fn all() -> Vec<libtest_mimic::Trial> {
    [trials(), trials_with()].into_iter().flatten().collect()
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of the README in this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = page("README.md");
    let start = format!("```{language}\n");
    let starts = readme.split(&start).skip(1);
    starts.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn the_example_is_the_one_that_is_compiled() {
    let library = page("client-lib/src/lib.rs");
    let example = library.split("//! ```no_run\n").nth(1).unwrap().split("//! ```").next().unwrap();
    let example: String = example.lines().map(|line| format!("{}\n", line.trim_start_matches("//! "))).collect();
    let plain = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").replace("//!", "");
    assert_eq!(plain(&blocks("rust")[0]), plain(&example));
}

/// Every option with its default, from what the program prints.
fn options_of_the_help() -> BTreeMap<String, Option<String>> {
    let scene = Scene::new();
    let help = scene.cli(&["--help"]).expect(0).out;
    let mut options = BTreeMap::new();
    let mut last = None;
    for line in help.lines().map(str::trim) {
        if line.starts_with('-') {
            let name = line.split([' ', ',']).find(|word| word.starts_with("--")).unwrap();
            let name = name.trim_end_matches("...").to_owned();
            options.insert(name.clone(), None);
            last = Some(name);
        } else if let (Some(default), Some(name)) = (line.strip_prefix("[default: "), &last) {
            options.insert(name.clone(), Some(default.trim_end_matches(']').to_owned()));
        }
    }
    options
}

fn the_options_are_those_of_the_help() {
    let readme = page("README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `-")).collect();
    let mut told = Vec::new();
    for row in &rows {
        let first = row.split(" | ").next().unwrap();
        let words = first.split(['`', ' ']).filter(|word| word.starts_with("--"));
        told.extend(words.map(|name| (name.to_owned(), *row)));
    }
    let options = options_of_the_help();
    assert!(options.len() > 15, "{options:?}");
    for (name, default) in &options {
        let row = told.iter().find(|(told, _)| told == name).unwrap_or_else(|| panic!("{name} is not in the README")).1;
        if let Some(default) = default {
            assert!(row.contains(&format!("`{default}`")), "the default of {name} is {default}: {row}");
        }
    }
    for (name, _) in &told {
        assert!(options.contains_key(name), "{name} is in the README, but there is no such option");
    }
}

fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for file in docs.chain(["README.md", "CHANGELOG.md"].map(|name| root.join(name))) {
        let text = fs::read_to_string(&file).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            let there = link.is_empty() || link.contains("://") || file.parent().unwrap().join(link).exists();
            assert!(there, "{}: {link} leads nowhere", file.display());
        }
    }
}

/// Builds the sample beside the program under test, where nobody has yet.
fn build_sample(folder: &Path) {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "sample-client", "--target-dir"]).arg(folder.parent().unwrap());
    if folder.ends_with("release") {
        build.arg("--release");
    }
    Running::start(build.current_dir(env!("CARGO_MANIFEST_DIR"))).finish(PATIENCE * 15).expect(0);
}

/// The blocks that start a daemon and stop it, in a scene of their own and on a free port.
fn commands_run_as_they_stand() {
    let folder = binary().parent().unwrap();
    let daemons: Vec<_> =
        blocks("sh").into_iter().filter(|block| block.contains("socket-protector stop 4321")).collect();
    assert_eq!(daemons.len(), 2, "{daemons:?}");
    build_sample(folder);
    for block in daemons {
        let scene = Scene::new();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sample = scene.path("sample").to_str().unwrap().to_owned();
        let text = block.replace("4321", &port.to_string()).replace("/tmp/sample", &sample);
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-e", "-u", "-c", &text]).env("PATH", path);
        let ran = Running::start(scene.mark(&mut command)).finish(PATIENCE * 3).expect(0);
        assert!(ran.out.contains("serving"), "{ran:?}");
        assert!(scene.read("sample.log").contains("Hello, World"), "{ran:?}");
        eventually("the daemon is gone", || scene.processes().is_empty());
    }
}
