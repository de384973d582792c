//! Trials that need programs which are not everywhere.

use libtest_mimic::Trial;
use std::process::Command;

/// The folder of what CI installs for the suite alone.
pub(crate) const TOOLS: &str = env!("CARGO_TARGET_TMPDIR");

/// A trial that needs other people's programs.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    /// A shell command that succeeds where the programs are.
    pub(crate) has: &'static str,
    pub(crate) body: fn(),
}

impl Guest {
    /// Ignored, loudly, where its programs are missing; in CI it is not, and fails. `module` is where its name begins.
    pub(crate) fn trial(self, module: &str) -> Trial {
        let Guest { name, has, body } = self;
        let found = Command::new("sh").args(["-c", has]).env("PATH", search_path()).env("TOOLS", TOOLS).output();
        let missing = !found.is_ok_and(|output| output.status.success());
        if missing {
            eprintln!("\n*** NOT TESTED: {name}, since this fails: {has} ***\n");
        }
        let trial = Trial::test(format!("{module}::{name}"), move || {
            body();
            Ok(())
        });
        trial.with_ignored_flag(missing && std::env::var_os("CI").is_none())
    }
}

/// With what CI installed for the suite in front, and the places where Debian has its daemons behind.
pub(crate) fn search_path() -> String {
    format!("{TOOLS}/python/bin:{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The list of a module's trials: each with what it needs, or all of them with what they need.
#[cfg(feature = "http")]
macro_rules! guests {
    ($($needs:expr => $name:ident),+ $(,)?) => {
        pub(super) const GUESTS: &[$crate::harness::guest::Guest] =
            &[$($crate::harness::guest::Guest { name: stringify!($name), has: $needs, body: $name }),+];
    };
    ($needs:expr; $($name:ident),+ $(,)?) => {
        pub(super) const GUESTS: &[$crate::harness::guest::Guest] =
            &[$($crate::harness::guest::Guest { name: stringify!($name), has: $needs, body: $name }),+];
    };
}
#[cfg(feature = "http")]
pub(crate) use guests;
