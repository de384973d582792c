//! What the command line says of a proxy for development.

use super::address::{Backend, Bind};
use super::certificate::Identity;
use super::gate::Policy;
use crate::process::instance_name::InstanceName;
use crate::process::run_dir::RunDir;
use nix::sys::signal::Signal;
use std::ffi::OsString;

/// What is to be served, how, and when it is started anew.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the instance is called; none: by the port where browsers come.
    pub name: Option<InstanceName>,
    /// Where its control socket is.
    pub run_dir: RunDir,
    /// Where browsers come.
    pub bind: Bind,
    /// Where the server listens.
    pub backend: Backend,
    /// The command of the server and its arguments, `{port}` in them being the port; at least one word.
    pub command: Vec<OsString>,
    /// A line for the shell that runs before each start.
    pub build: Option<OsString>,
    /// When what is started and who waits how long.
    pub policy: Policy,
    /// What asks a server to end.
    pub stop_signal: Signal,
    /// What is asked of a server that starts; a status from 200 to 399 is good. `None`: HEAD of the root, and any answer is.
    pub ready_path: Option<String>,
    /// Whose answers are good.
    pub ready_from: ReadyFrom,
    /// Key and certificate, if browsers are to come by TLS.
    pub tls: Option<Identity>,
    /// Which files matter.
    pub files: Files,
    /// Hosts that browsers may name, besides those of this machine.
    pub allowed_hosts: Vec<String>,
    /// Pages get the script that loads them again.
    pub inject: bool,
    /// Browser extensions are told of changes, at LiveReload's port.
    pub livereload: bool,
}

/// Whose answer says that a server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyFrom {
    /// That of one of its processes, or of one that cannot be seen, as another user's.
    Server,
    /// That of whoever listens at its port.
    Anyone,
}

/// Which files matter.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Those that match one of these; all if there is none.
    pub patterns: Vec<String>,
    /// But for those that match one of these.
    pub excludes: Vec<String>,
    /// And for those that `.gitignore` and `.ignore` name.
    pub ignore_files: bool,
}
