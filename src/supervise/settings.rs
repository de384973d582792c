//! What the command line decides for a supervisor, in the terms of the driver.

use super::probe::Question;
use super::state::Policy;
use crate::net::endpoint::ProxyVersion;
use crate::process::limits::OpenFiles;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// How a child gets its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It inherits the listening sockets and accepts by itself.
    Listener,
    /// We accept, and pass each connection over its channel.
    Connections,
    /// We accept, and relay each connection to an address of its own.
    Relay,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pass::Listener => "listener",
            Pass::Connections => "connections",
            Pass::Relay => "relay",
        })
    }
}

/// Where a child's standard output and error go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildLog {
    /// Standard output is ours; standard error passes through us, byte for byte, to ours.
    Inherit,
    /// Line by line into our log.
    Log,
    /// Appended to a file by the child itself.
    File(PathBuf),
}

/// What holds for a supervisor from its start to its end.
#[derive(Debug)]
pub struct Settings {
    /// The name of the instance.
    pub name: String,
    /// How a child gets its connections.
    pub pass: Pass,
    /// Whether a child is told the client's address, with the relay pass, by a header of the PROXY protocol.
    pub proxy: Option<ProxyVersion>,
    /// What the state machine goes by.
    pub policy: Policy,
    /// What a starting generation is asked, where it is ready by its answer.
    pub probe: Option<Question>,
    /// Sent on drain to children that do not use their channel.
    pub drain_signal: Signal,
    /// The most connections that the kernel keeps for a listener.
    pub backlog: u32,
    /// The most connections held for each listener.
    pub hold_limit: usize,
    /// Where a child's output goes.
    pub child_log: ChildLog,
    /// Children outlive our violent death.
    pub keep_orphans: bool,
    /// The first command.
    pub command: Vec<OsString>,
    /// The children's environment, before ours is added.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory that children start in, by its path: what a moved symbolic link in it names at the time.
    pub directory: Option<PathBuf>,
    /// The children's limits of open files.
    pub open_files: OpenFiles,
}
