//! Where a role runs: in the foreground, or behind a process that waits until it serves.

use super::Failure;
use crate::process::daemon::{Side, StartResult, StatusPipe, daemonize};
use crate::process::output::printable;
use crate::process::stray::{self, Stray};
use crate::reactor::Signals;
use log::error;
use std::io::{self, Write};
use std::process::ExitCode;

/// Serves in this process.
pub(super) fn stay(
    signals: Signals,
    serve: impl FnOnce(Signals, Option<StatusPipe>) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    stray::deal_with(Stray::CloseOnExec);
    serve(signals, None).map(|()| ExitCode::SUCCESS)
}

/// Serves in the background. The caller's process returns what is told through the pipe, or why it ended before that.
pub(super) fn leave(
    signals: Signals,
    serve: impl FnOnce(Signals, Option<StatusPipe>) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    match daemonize().map_err(|error| Failure::failed(&error))? {
        Side::Starter(wait) => {
            signals.release();
            Ok(tell(&wait.result()))
        }
        Side::Daemon(pipe) => {
            let starter = pipe.try_clone().map_err(|error| Failure::of_io("cannot tell how the start went", &error))?;
            let done = serve(signals, Some(starter));
            if let Err(failure) = &done {
                let (code, text) = (failure.exit_code(), failure.to_string());
                error!("{}", text.trim_end());
                pipe.tell(&StartResult { code, text, ..StartResult::default() });
            }
            done.map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Nobody left to tell is no failure.
fn tell(result: &StartResult) -> ExitCode {
    let to: &mut dyn Write = if result.code == 0 { &mut io::stdout() } else { &mut io::stderr() };
    let _ = to.write_all(result.text.as_bytes());
    if !result.warning.is_empty() {
        let _ = writeln!(io::stderr(), "socket-protector: {}", printable(result.warning.as_bytes()));
    }
    ExitCode::from(result.code)
}
