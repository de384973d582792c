//! The gateway, as clients of HTTP see it: with a server of sessions behind it, and destinations that are threads of ours.

mod api;
mod change;
mod foreign;
mod guests;
mod http;
mod plain;
mod poll;
mod restart;
mod socket;
mod stage;
mod stream;

/// Every trial of the gateway.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    [
        api::trials(),
        change::trials(),
        foreign::trials(),
        guests::trials(),
        plain::trials(),
        poll::trials(),
        restart::trials(),
        stream::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
