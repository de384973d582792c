//! Sessions, through their commands: one folder for each part.

mod server;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [server::trials()].into_iter().flatten().collect()
}
