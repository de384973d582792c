//! The forwarder, through its command line: one file for each subject.

mod command_line;
mod control;
mod defects;
mod grace;
mod hand_over;
pub(crate) mod peers;
mod place;
mod restart;
mod restart_failures;
mod restart_undecided;
mod saved;
mod stop;
mod switch;
pub(crate) mod tls;
mod wait;

/// Every trial of the role.
pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let all = [
        command_line::trials(),
        control::all(),
        defects::trials(),
        grace::trials(),
        hand_over::all(),
        peers::trials(),
        restart::trials(),
        restart_failures::trials(),
        restart_undecided::trials(),
        saved::trials(),
        stop::trials(),
        switch::trials(),
        tls::trials(),
        wait::all(),
    ];
    all.into_iter().flatten().collect()
}
