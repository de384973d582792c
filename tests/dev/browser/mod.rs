//! What browsers are told and shown: by clients that are a few lines, in a real browser, and with the servers of others.

mod channel;
mod chromium;
mod frameworks;
mod inject;
mod refused;
mod socket;

use std::process::Command;

use libtest_mimic::Trial;

use super::stage::{Proxy, Setup};
use crate::harness::scene::suite;

/// The folder of what CI installs for these trials alone.
const TOOLS: &str = env!("CARGO_TARGET_TMPDIR");

/// A trial that needs programs which are not everywhere.
#[derive(Clone, Copy)]
struct Guest {
    name: &'static str,
    /// A shell command that succeeds where the programs are.
    has: &'static str,
    body: fn(),
}

/// Every trial with browsers.
pub(super) fn trials() -> Vec<Trial> {
    let alone = [channel::trials(), inject::trials(), refused::trials()];
    let guests = [chromium::GUESTS, frameworks::GUESTS].concat();
    alone.into_iter().flatten().chain(guests.into_iter().map(Guest::trial)).collect()
}

impl Guest {
    /// Ignored, loudly, where its program is missing; in CI it is not, and fails.
    fn trial(self) -> Trial {
        let found = Command::new("sh").args(["-c", self.has]).env("PATH", search_path()).env("TOOLS", TOOLS).output();
        let missing = !found.is_ok_and(|output| output.status.success());
        if missing {
            eprintln!("\n*** NOT TESTED: {}, since this fails: {} ***\n", self.name, self.has);
        }
        let body = self.body;
        let trial = Trial::test(format!("dev::browser::{}", self.name), move || {
            body();
            Ok(())
        });
        trial.with_ignored_flag(missing && std::env::var_os("CI").is_none())
    }
}

/// The list of a module's trials, each with what it needs.
macro_rules! guests {
    ($($needs:expr => $name:ident),+ $(,)?) => {
        pub(super) const GUESTS: &[super::Guest] =
            &[$(super::Guest { name: stringify!($name), has: $needs, body: $name }),+];
    };
}
use guests;

/// The search path, with what CI installed for this alone in front.
fn search_path() -> String {
    format!("{TOOLS}/python/bin:{}", std::env::var("PATH").unwrap_or_default())
}

/// A page that counts how often it was loaded in its tab.
const PAGE: &str = "<!DOCTYPE html><html><head><title>@version@</title><link rel=stylesheet href=/style.css></head>\
    <body><p id=word>word</p><script>sessionStorage.loads = Number(sessionStorage.loads || 0) + 1</script></body></html>";
/// It may be kept, and is the same for all who have kept it.
const KEPT: &str = "Cache-Control: max-age=600\nETag: \"always\"\n";

/// A proxy to be with a site for browsers, whose version is 1.
fn site() -> Setup {
    let setup = Setup::new().command(&[&suite(), "child", "pages", "127.0.0.1:{port}"]);
    for (name, text) in [
        ("index.html", PAGE),
        ("index.html.head", KEPT),
        ("style.css", "p { color: rgb(1, 1, 1) }"),
        ("style.css.head", KEPT),
        ("version", "1"),
    ] {
        setup.scene().write(&format!("site/{name}"), text);
    }
    setup
}

/// Writes a file of the site, and in one step.
fn write(proxy: &Proxy, name: &str, text: &str) {
    let new = proxy.scene.write("new", text);
    std::fs::rename(new, proxy.site(name)).unwrap();
}
