//! The terminal page and the plain page in a real browser, with real destinations, servers and gateways; and the page's
//! scripts alone, in node.

mod destinations;
mod keyboard;
mod looks;
mod plain;
mod script;
mod stage;
mod telnetd;
mod terminal;
mod ways;

use std::process::Command;

use libtest_mimic::Trial;

/// A trial that needs programs which are not everywhere.
#[derive(Clone, Copy)]
struct Guest {
    name: &'static str,
    /// A shell command that succeeds where the programs are.
    has: &'static str,
    body: fn(),
}

/// Every trial of the pages.
pub(super) fn trials() -> Vec<Trial> {
    let all = [
        keyboard::GUESTS,
        looks::GUESTS,
        plain::GUESTS,
        script::GUESTS,
        telnetd::GUESTS,
        terminal::GUESTS,
        ways::GUESTS,
    ];
    all.concat().into_iter().map(Guest::trial).collect()
}

impl Guest {
    /// Ignored, loudly, where its program is missing; in CI it is not, and fails.
    fn trial(self) -> Trial {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let found = Command::new("sh").args(["-c", self.has]).env("PATH", path).output();
        let missing = !found.is_ok_and(|output| output.status.success());
        if missing {
            eprintln!("\n*** NOT TESTED: {}, since this fails: {} ***\n", self.name, self.has);
        }
        let body = self.body;
        let trial = Trial::test(format!("session::page::{}", self.name), move || {
            body();
            Ok(())
        });
        trial.with_ignored_flag(missing && std::env::var_os("CI").is_none())
    }
}

/// The list of a module's trials, all of which need the same.
macro_rules! guests {
    ($needs:expr; $($name:ident),+ $(,)?) => {
        pub(super) const GUESTS: &[super::Guest] =
            &[$(super::Guest { name: stringify!($name), has: $needs, body: $name }),+];
    };
}
use guests;
