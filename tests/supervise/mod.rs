//! The first role: start, pass, reload, drain, stop; one file per behaviour.

mod adopted;
mod channel;
mod command;
mod conventions;
mod crash;
mod datagrams;
mod drain;
mod failures;
pub(crate) mod give_back;
mod hold;
mod killed;
mod limits;
mod listeners;
mod load;
mod main_process;
mod notify;
mod original;
mod quick_start;
mod readiness;
mod ready_by_probe;
mod relay_pass;
mod requests;
mod shut_down;
mod stop;
mod stored;
mod surroundings;
mod unix_listeners;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        adopted::trials(),
        channel::trials(),
        command::trials(),
        conventions::trials(),
        crash::trials(),
        datagrams::trials(),
        drain::trials(),
        failures::trials(),
        give_back::trials(),
        hold::trials(),
        killed::trials(),
        limits::all(),
        listeners::trials(),
        load::trials(),
        main_process::all(),
        notify::all(),
        original::all(),
        quick_start::trials(),
        readiness::trials(),
        ready_by_probe::all(),
        relay_pass::all(),
        requests::trials(),
        shut_down::trials(),
        stop::trials(),
        stored::all(),
        surroundings::trials(),
        unix_listeners::trials(),
    ];
    all.into_iter().flatten().collect()
}
