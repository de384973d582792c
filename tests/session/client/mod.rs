//! The client of sessions, with a real server: polling, staying, what cuts and kills do to it, its state file, its
//! terminal.

mod cuts;
mod ends;
mod follow;
mod place;
mod polling;
mod races;
mod seed;
mod state;
mod terminal;

/// Every trial of the client.
pub(super) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        cuts::trials(),
        ends::trials(),
        follow::trials(),
        polling::trials(),
        polling::trials_with(),
        races::trials(),
        seed::trials_with(),
        state::trials(),
        state::trials_with(),
        terminal::trials(),
    ];
    all.into_iter().flatten().collect()
}
