//! Why there is no proxy for development.

use super::address::{Backend, Bind};
use crate::control::server::ControlError;
use crate::net::tls::LoadError;
use crate::process::instance_name::InstanceName;
use crate::process::pid_file::PidFileError;
use crate::process::run_dir::RunDirError;
use crate::process::spawn::SpawnError;
use std::io;
use std::path::PathBuf;

/// Why it ends, or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The runtime, or what it rests on, cannot be made.
    #[error("cannot {what}")]
    Begin {
        /// The operation.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another instance has the name.
    #[error("an instance named {name} is already running{}", .pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Name {
        /// The name.
        name: InstanceName,
        /// Its process, if that is known.
        pid: Option<i32>,
    },
    /// The directory of control sockets cannot be used.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The name cannot be locked.
    #[error(transparent)]
    Lock(#[from] PidFileError),
    /// There is no control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The host has no address.
    #[error("cannot find the host of {bind}")]
    Resolve {
        /// The address as it was given.
        bind: Bind,
        /// What getaddrinfo(3) said.
        source: io::Error,
    },
    /// We cannot listen.
    #[error("cannot listen on {bind}")]
    Listen {
        /// The address as it was given.
        bind: Bind,
        /// What bind(2) or listen(2) said.
        source: io::Error,
    },
    /// The command cannot be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// Somebody else listens where the server is to listen.
    #[error("{backend} is taken by {holder}")]
    PortTaken {
        /// Where the server is to listen.
        backend: Backend,
        /// Who has it: `python3 (pid 123)`.
        holder: String,
    },
    /// No port is free for the server.
    #[error("cannot find a free port on {backend}")]
    NoPort {
        /// Where the server is to listen.
        backend: Backend,
        /// What bind(2) said.
        source: io::Error,
    },
    /// A pattern that means nothing.
    #[error("not a pattern: '{pattern}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// A key or certificate that cannot be used.
    #[error("cannot use the certificate")]
    Identity(#[from] LoadError),
    /// A certificate of our own that cannot be made.
    #[error("cannot make the certificate {}", .path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing says where our own certificate is to be.
    #[error("there is no place for a certificate: neither XDG_DATA_HOME nor HOME is set")]
    NoHome,
    /// The directory whose files are watched cannot be read.
    #[error("cannot watch {}", .path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
