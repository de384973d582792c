//! Trials that need programs which are not everywhere.

use libtest_mimic::Trial;
use std::process::Command;

/// The folder of what CI installs for the suite alone.
pub(crate) const TOOLS: &str = env!("CARGO_TARGET_TMPDIR");

/// Succeeds for root.
pub(crate) const ROOT: &str = "test \"$(id -u)\" = 0";

/// A trial that needs other people's programs, or root.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    /// A shell command that succeeds where the programs are.
    pub(crate) has: &'static str,
    pub(crate) body: fn(),
}

impl Guest {
    /// Ignored, loudly, where what it needs is missing; in CI it is not, and fails. `module` is where its name begins.
    pub(crate) fn trial(self, module: &str) -> Trial {
        let Guest { name, has, body } = self;
        trial_with(format!("{module}::{name}"), has, body)
    }
}

/// The same for a name that is no function's.
pub(crate) fn trial_with(name: String, has: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    let found = Command::new("sh").args(["-c", has]).env("PATH", search_path()).env("TOOLS", TOOLS).output();
    let missing = !found.is_ok_and(|output| output.status.success());
    if missing {
        eprintln!("\n*** NOT TESTED: {name}, since this fails: {has} ***\n");
    }
    let trial = Trial::test(name, move || {
        body();
        Ok(())
    });
    trial.with_ignored_flag(missing && std::env::var_os("CI").is_none())
}

/// With the places behind where Debian has its daemons.
pub(crate) fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The same, with what CI installed for the suite in front.
pub(crate) fn path_with_tools() -> String {
    format!("{TOOLS}/python/bin:{}", search_path())
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
