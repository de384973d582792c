//! The terminal page and the plain page in a real browser, with real destinations, servers and gateways; and the page's
//! scripts alone, in node.

mod destinations;
mod keyboard;
mod looks;
mod plain;
mod script;
mod stage;
mod telnetd;
mod terminal;
mod ways;

use crate::harness::guest::guests;

use libtest_mimic::Trial;

/// Every trial of the pages.
pub(super) fn trials() -> Vec<Trial> {
    let all = [
        keyboard::GUESTS,
        looks::GUESTS,
        plain::GUESTS,
        script::GUESTS,
        telnetd::GUESTS,
        terminal::GUESTS,
        ways::GUESTS,
    ];
    all.concat().into_iter().map(|guest| guest.trial("session::page")).collect()
}
