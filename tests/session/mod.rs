//! Sessions, through the command line: one folder for each of its programs.

mod client;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    client::trials()
}
