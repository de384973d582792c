//! socket-protector: nobody's connection is ever lost because the program behind it changed.

pub mod cli;
pub mod net;
pub mod process;
