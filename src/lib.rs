//! socket-protector: nobody's connection is ever lost because the program behind it changed.

pub mod cli;
pub mod control;
#[cfg(feature = "http")]
pub mod dev;
pub mod forward;
pub mod logging;
pub mod net;
pub mod process;
pub mod reactor;
pub mod session;
pub mod supervise;
#[allow(unsafe_code, reason = "the one module of this package that may")]
mod sys;
pub mod takeover;
pub mod time;

/// An error with its whole cause chain on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
