//! Processes: starting and ending children, becoming a daemon, the pid file, limits, what a child writes.

pub mod daemon;
pub mod group;
pub mod limits;
pub mod output;
pub mod pid_file;
pub mod spawn;
pub mod stray;
