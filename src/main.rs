//! Parse, run, exit code; nothing else.

use socket_protector::reactor::Signals;
use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a signal that comes before it is caught would end us.
    let signals = Signals::catch();
    socket_protector::cli::main(signals)
}
