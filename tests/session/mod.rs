//! Sessions, through their commands: one folder for each part.

mod client;
mod server;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [client::trials(), server::trials()].into_iter().flatten().collect()
}
