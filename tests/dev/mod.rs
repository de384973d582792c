//! The proxy for development, through its command line: one file for each subject.

mod browser;
mod build;
mod command_line;
mod defects;
mod delay;
mod files;
mod hold;
mod http;
mod idle;
mod instance;
mod looks;
mod orphans;
mod process;
mod restarts;
mod signals;
mod smuggling;
mod stage;
mod strangers;
mod stream;
mod switch;
mod terminal;
mod tls;
mod watches;
mod websocket;
mod wire;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        browser::trials(),
        build::trials(),
        command_line::trials(),
        defects::trials(),
        delay::trials(),
        files::trials(),
        hold::trials(),
        http::trials(),
        idle::trials(),
        instance::trials(),
        looks::trials(),
        orphans::trials(),
        orphans::trials_of_root(),
        process::trials(),
        signals::trials(),
        smuggling::trials(),
        strangers::trials(),
        stream::trials(),
        switch::trials(),
        terminal::trials(),
        tls::trials(),
        tls::trials_with(),
        watches::trials(),
        watches::trials_with(),
        websocket::trials(),
    ];
    let looks = looks::GUESTS.iter().map(|guest| guest.trial("dev::looks"));
    let guests = looks.chain(restarts::GUESTS.iter().map(|guest| guest.trial("dev::restarts")));
    all.into_iter().flatten().chain(guests).collect()
}
