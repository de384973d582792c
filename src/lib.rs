//! socket-protector: nobody's connection is ever lost because the program behind it changed.

pub mod cli;
pub mod control;
pub mod logging;
pub mod net;
pub mod process;
pub mod reactor;
pub mod supervise;
#[allow(unsafe_code, reason = "the one module of this package that may")]
mod sys;
