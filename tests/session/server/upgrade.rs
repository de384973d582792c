//! Upgrades of the server: another process of the installed program goes on with every session, or none does.

mod clients;
mod failures;
mod load;
mod site;
mod states;

/// Every trial of upgrades.
pub(super) fn trials() -> Vec<libtest_mimic::Trial> {
    [clients::trials(), failures::trials(), load::trials(), states::trials()].into_iter().flatten().collect()
}
