//! Sessions, through their commands: one folder for each part.

mod client;
#[cfg(feature = "http")]
mod page;
mod server;
#[cfg(feature = "http")]
mod web;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        client::trials(),
        #[cfg(feature = "http")]
        page::trials(),
        server::trials(),
        #[cfg(feature = "http")]
        web::trials(),
    ];
    all.into_iter().flatten().collect()
}
