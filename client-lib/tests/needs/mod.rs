//! What a test needs that is not everywhere.

use std::io::Write;

/// Whether a test can be made. If not, that is told, even though the test passes; in CI it fails.
pub(crate) fn needs(is_there: bool, what: &str) -> bool {
    if !is_there {
        assert!(std::env::var_os("CI").is_none(), "NOT TESTED: it needs {what}");
        // What is printed by macros is shown for tests that fail alone.
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        let _ = writeln!(std::io::stderr(), "\n*** NOT TESTED: {name}, which needs {what} ***\n");
    }
    is_there
}
