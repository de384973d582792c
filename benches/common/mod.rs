//! What all measurements share: the machine, a measured process, the load of short connections and the daemon that
//! answers it, and figures as they are printed.
#![allow(dead_code, reason = "each measurement uses its part")]

pub mod daemon;
pub mod figures;
pub mod load;
pub mod machine;
pub mod plan;
pub mod process;
mod sys;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
