//! A server in Rust whose source is edited under load, and built by cargo each time.

use std::process::Command;
use std::sync::Arc;

use super::frameworks::{answers, under_load};
use super::socket::{CHANNEL, Socket};
use super::{TOOLS, guests, write};
use crate::dev::stage::Setup;
use crate::harness::Scene;

guests![
    "command -v cargo && command -v curl" => a_server_that_cargo_builds_is_edited_under_load,
];

const MANIFEST: &str = "\
[package]
name = \"app\"
version = \"0.1.0\"
edition = \"2024\"

[dependencies]
axum = { version = \"0.8\", default-features = false, features = [\"http1\", \"tokio\"] }
tokio = { version = \"1\", default-features = false, features = [\"macros\", \"net\", \"rt\"] }

[profile.dev]
debug = 0
";

const SOURCE: &str = "\
use axum::{Router, response::Html, routing::get};

#[tokio::main(flavor = \"current_thread\")]
async fn main() {
    let port: u16 = std::env::var(\"PORT\").unwrap().parse().unwrap();
    let listener = tokio::net::TcpListener::bind((\"127.0.0.1\", port)).await.unwrap();
    let page = \"<title>VERSION</title>\";
    axum::serve(listener, Router::new().route(\"/\", get(async move || Html(page)))).await.unwrap();
}
";

const BUILD: &str = "cargo build --offline --target-dir target";

fn source(version: &str) -> String {
    SOURCE.replace("VERSION", version)
}

/// A project as `cargo new` makes one. What this suite was built of is all that it needs, in the same versions.
fn project(scene: &Arc<Scene>) {
    let own = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::create_dir(scene.path("site/src")).unwrap();
    scene.write("site/Cargo.toml", MANIFEST);
    scene.write("site/.gitignore", "/target\n");
    scene.write("site/src/main.rs", &source("1"));
    std::fs::copy(own("Cargo.lock"), scene.path("site/Cargo.lock")).unwrap();
    // The libraries are built once, and not for each run of the suite.
    let target = format!("{TOOLS}/cargo");
    std::fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(target, scene.path("site/target")).unwrap();
    let built = Command::new("sh").args(["-c", BUILD]).current_dir(scene.path("site")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

fn a_server_that_cargo_builds_is_edited_under_load() {
    for options in [&["--overlap"][..], &[]] {
        let setup = Setup::new().with(options).with(&["-p", "src/**", "Cargo.toml", "--build", BUILD]);
        project(setup.scene());
        let proxy = setup.command(&["target/debug/app"]).start();
        answers(&proxy, "1");
        let (mut page, _) = Socket::join(proxy.address, CHANNEL);
        under_load(&proxy, |load| {
            write(&proxy, "src/main.rs", &source("2"));
            answers(&proxy, "2");
            assert_eq!(page.hear()["command"], "reload");
            load.goes_on();
            // It does not compile: the one before answers on.
            write(&proxy, "src/main.rs", &source("3").replace("let page =", "let page: u8 ="));
            let alert = page.hear();
            let words = alert["message"].as_str().unwrap_or_else(|| panic!("{alert}"));
            assert!(words.contains("the build exited with status 101") && words.contains("E0308"), "{words}");
            proxy.wait_said("an older server answers");
            load.goes_on();
            assert!(proxy.get("/").1.contains("<title>2</title>"));
            // Saved again while it is built.
            for version in ["4", "5"] {
                write(&proxy, "src/main.rs", &source(version));
                proxy.wait_said_often("reload: src/main.rs changed", version.parse::<usize>().unwrap() - 1);
            }
            answers(&proxy, "5");
            load.goes_on();
            assert!(proxy.get("/").1.contains("<title>5</title>"));
        });
    }
}
