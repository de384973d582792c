//! Standard output, which may be closed: whoever does not read on has got what he wanted.

use super::failure::Failure;
use std::io::{self, Write};
use std::process::ExitCode;

/// Writes text to standard output.
pub(super) fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of_io("cannot write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
}
