//! The proxy for development, through its command line: one file for each subject.

mod browser;
mod build;
mod command_line;
mod defects;
mod delay;
mod files;
mod hold;
mod http;
mod instance;
mod looks;
mod orphans;
mod process;
mod smuggling;
mod stage;
mod stream;
mod switch;
mod tls;
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
        instance::trials(),
        looks::trials(),
        orphans::trials(),
        orphans::trials_of_root(),
        process::trials(),
        smuggling::trials(),
        stream::trials(),
        switch::trials(),
        tls::trials(),
        websocket::trials(),
    ];
    all.into_iter().flatten().collect()
}
