//! `session upgrade`, and how the process comes up that takes over a server of sessions.

use super::ask::find;
use super::server::{Server, failed, here, identity, no_endpoint};
use crate::cli::{Common, Failure, upgrade};
use crate::logging;
use crate::net::endpoint::Listen;
use crate::net::tls::ServerIdentity;
use crate::process::limits::raise_open_files;
use crate::process::run_dir::RunDir;
use crate::process::service;
use crate::reactor::Signals;
use crate::session::proxy::Proxy;
use crate::session::server::{ServerError, Successor, take_over};
use crate::takeover::program;
use clap::Args;
use log::warn;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What the process is told that takes over, besides what the one before it was told.
const TAKE_OVER: &str = "--take-over";

/// `session upgrade`
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// Where the server listens; host and port default independently
    #[arg(long, value_name = "HOST:PORT", default_value_t = Proxy::default())]
    proxy: Proxy,
    #[command(flatten)]
    how: upgrade::How,
}

impl Upgrade {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let (path, status) = find(run_dir, &self.proxy)?;
        self.how.upgrade(run_dir, &path, &status.name)
    }
}

/// The command of a process that takes over: the path that this one was started from, whatever leads there then, and the
/// same words. None where our end would be taken for that of the server.
pub(super) fn successor(daemon: bool, program: PathBuf) -> Option<Vec<OsString>> {
    if !daemon && !service::is_watched() {
        return None;
    }
    let mut command = vec![program.into_os_string(), TAKE_OVER.into()];
    command.extend(std::env::args_os().skip(1).filter(|word| word != TAKE_OVER));
    Some(command)
}

impl Server {
    /// Goes on for a process that hands everything over.
    pub(super) fn take_over(self, common: &Common, signals: Signals) -> Result<ExitCode, Failure> {
        let stream = io::stdin().as_fd().try_clone_to_owned();
        let stream = UnixStream::from(stream.map_err(|error| Failure::of_io("cannot use standard input", &error))?);
        let destination = Arc::new(self.destination()?);
        let listen = self.listen()?;
        let logging = logging::start(logging::level(common.verbosity()), &self.log());
        let logging = logging.map_err(|error| Failure::failed(&error))?;
        raise_open_files().map_err(|error| Failure::of_io("cannot raise the limit of open files", &error))?;
        let absolute = |path: PathBuf| here().map(|here| here.join(path));
        let successor = Successor {
            signals,
            logging,
            server_identity: server_identity(&listen)?,
            identity: identity(&destination)?,
            run_dir: common.run_dir()?,
            pid_file: self.pid_file.clone().map(absolute).transpose()?,
            // The path as the process before us had it, whatever leads there now.
            command: successor(self.daemon, std::env::args_os().next().map_or_else(program, PathBuf::from)),
            settings: self.settings(String::new(), destination),
        };
        take_over(stream, successor).map_err(|error| failed(&error)).map(|()| ExitCode::SUCCESS)
    }

    /// Where to listen, with its paths being ours.
    pub(super) fn listen(&self) -> Result<Listen, Failure> {
        let listen = self.proxy.listen().map_err(|error| no_endpoint(&error))?;
        listen.with_paths_of(&here()?).map_err(|error| Failure::failed(&error).code(2))
    }
}

fn server_identity(listen: &Listen) -> Result<Option<Arc<ServerIdentity>>, Failure> {
    let Listen::Tls(tls) = listen else {
        return Ok(None);
    };
    let loaded = ServerIdentity::load(&tls.files);
    let loaded = loaded.map_err(|source| failed(&ServerError::Tls { endpoint: listen.to_string(), source }))?;
    loaded.remarks().iter().for_each(|remark| warn!("{listen}: {remark}"));
    Ok(Some(Arc::new(loaded)))
}
