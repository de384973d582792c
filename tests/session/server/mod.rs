//! The server of sessions: real processes, real connections, and a client that speaks the protocol's frames.

mod asked;
mod client;
mod comes_up;
mod cuts;
mod destination;
mod destinations;
mod ends;
mod floods;
mod golden;
mod limits;
mod place;
mod races;
mod secure;
mod stops;
mod strangers;
mod telnet;
mod upgrade;

/// Every trial of the server.
pub(super) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        asked::trials(),
        comes_up::trials(),
        cuts::trials(),
        destinations::trials(),
        ends::all(),
        floods::trials(),
        golden::trials(),
        limits::all(),
        races::trials(),
        stops::trials(),
        strangers::trials(),
        telnet::all(),
        upgrade::trials(),
    ];
    all.into_iter().flatten().collect()
}
