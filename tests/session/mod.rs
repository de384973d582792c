//! Sessions, through their commands: one folder for each part.

mod page;
#[cfg(feature = "http")]
mod web;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [
        page::trials(),
        #[cfg(feature = "http")]
        web::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
