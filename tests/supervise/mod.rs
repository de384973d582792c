//! The first role: start, pass, reload, drain, stop; one file per behaviour.

mod channel;
mod command;
mod conventions;
mod crash;
mod drain;
mod failures;
pub(crate) mod give_back;
mod hold;
mod killed;
mod limits;
mod listener_kinds;
mod listeners;
mod load;
mod main_process;
mod notify;
mod original;
mod quick_start;
mod readiness;
mod ready_by_probe;
mod requests;
mod stop;
mod surroundings;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        channel::trials(),
        command::trials(),
        conventions::trials(),
        crash::trials(),
        drain::trials(),
        failures::trials(),
        give_back::trials(),
        hold::trials(),
        killed::trials(),
        limits::all(),
        listener_kinds::trials(),
        listeners::trials(),
        load::trials(),
        main_process::trials(),
        notify::all(),
        original::all(),
        quick_start::trials(),
        readiness::trials(),
        ready_by_probe::all(),
        requests::trials(),
        stop::trials(),
        surroundings::trials(),
    ];
    all.into_iter().flatten().collect()
}
