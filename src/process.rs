//! What one running instance is to its host: its pid file and the directory of its control socket.

pub mod pid_file;
