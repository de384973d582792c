//! Sessions, through their commands: one folder for each part.

mod page;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [page::trials()].into_iter().flatten().collect()
}
