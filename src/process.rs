//! Processes: starting and ending children, becoming a daemon, and what one running instance is to its host.

pub mod daemon;
pub mod group;
pub mod holder;
pub mod instance_name;
pub mod limits;
pub mod output;
pub mod pid_file;
pub mod run_dir;
pub mod spawn;
pub mod stray;
