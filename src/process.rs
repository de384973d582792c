//! What one running instance is to its host: its name, its pid file, and the directory of its control socket.

pub mod instance_name;
pub mod pid_file;
pub mod run_dir;
