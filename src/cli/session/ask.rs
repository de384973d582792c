//! Finding the server of an address among the instances of a run directory, and asking it; `close`, `detach`, `drain`.

use crate::cli::Failure;
use crate::cli::asked::{self, PATIENCE, result};
use crate::control::client::{AskError, ask, ask_last};
use crate::net::endpoint::{Host, Listen, Peer};
use crate::process::output::printable;
use crate::process::run_dir::RunDir;
use crate::session::proxy::Proxy;
use crate::session::server::{Done, ROLE, Request, Status};
use clap::Args;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `session close ID`
#[derive(Debug, Args)]
pub(super) struct Close {
    #[command(flatten)]
    one: One,
}

/// `session detach ID`
#[derive(Debug, Args)]
pub(super) struct Detach {
    #[command(flatten)]
    one: One,
}

/// A session of a server.
#[derive(Debug, Args)]
struct One {
    /// Where its server listens; host and port default independently
    #[arg(long, value_name = "HOST:PORT", default_value_t = Proxy::default())]
    proxy: Proxy,
    /// Its id, or as many of its first letters as tell it from others
    #[arg(value_name = "ID")]
    id: String,
}

/// `session drain`
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Where the server listens; host and port default independently
    #[arg(long, value_name = "HOST:PORT", default_value_t = Proxy::default())]
    proxy: Proxy,
}

impl Close {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        self.one.ask(run_dir, "close", &Request::Close { id: self.one.id.clone() })
    }
}

impl Detach {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        self.one.ask(run_dir, "detach", &Request::Detach { id: self.one.id.clone() })
    }
}

impl One {
    fn ask(&self, run_dir: &RunDir, what: &str, request: &Request) -> Result<ExitCode, Failure> {
        let (path, _) = find(run_dir, &self.proxy)?;
        let reply = ask(&path, request, Some(PATIENCE)).map_err(|error| Failure::failed(&error))?;
        let done = result::<Done>(reply).map_err(|failure| {
            failure
                .about(&format!("cannot {what} {}", printable(self.id.as_bytes())))
                .hint("'socket-protector session status' shows the sessions")
        });
        done.map(|_| ExitCode::SUCCESS)
    }
}

impl Drain {
    pub(super) fn run(&self, run_dir: &RunDir) -> Result<ExitCode, Failure> {
        let (path, _) = find(run_dir, &self.proxy)?;
        let reply = ask_last(&path, &Request::Drain).map_err(|error| Failure::failed(&error))?;
        result::<Done>(reply).map(|_| ExitCode::SUCCESS)
    }
}

/// The control socket of the server at this address, and how it is.
pub(super) fn find(run_dir: &RunDir, proxy: &Proxy) -> Result<(PathBuf, Status), Failure> {
    let sought = Sought::new(proxy);
    let mut stuck = None;
    for path in by_likelihood(run_dir, proxy)? {
        match ask_status(&path) {
            Ok(Some(status)) if sought.is(&status) => return Ok((path, status)),
            Ok(_) => {}
            Err(error) if error.is_nobody() => {}
            // One that is stuck does not hide the one that is sought.
            Err(error) => stuck = Some(error),
        }
    }
    Err(match stuck {
        Some(error) => Failure::failed(&error),
        None => Failure::told(format!("no server of sessions at {proxy} is running in {}", run_dir.path().display()))
            .hint("'socket-protector status' shows what is; --proxy and --run-dir name another"),
    })
}

/// How the instance is, if it is a server of sessions.
fn ask_status(path: &Path) -> Result<Option<Status>, AskError> {
    let reply = ask(path, &Request::Status, Some(PATIENCE))?;
    let status = reply.result.filter(|status| status["role"] == ROLE);
    Ok(status.and_then(|status| serde_json::from_value(status).ok()))
}

/// All control sockets, the one with the name of the address first.
fn by_likelihood(run_dir: &RunDir, proxy: &Proxy) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = asked::sockets(run_dir.path())?;
    if let Some(name) = proxy.default_name() {
        let likely = run_dir.path().join(format!("{name}.sock"));
        paths.sort_by_key(|path| *path != likely);
    }
    Ok(paths)
}

/// An address, with all that its host's name stands for.
struct Sought<'a> {
    proxy: &'a Proxy,
    addresses: Vec<SocketAddr>,
}

impl<'a> Sought<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        let place = proxy.connect().ok().map(|connect| connect.place);
        let addresses = match place {
            Some(Peer::Tcp(place)) => match place.host {
                Host::V4(address) => vec![(address, place.port).into()],
                Host::V6 { address, .. } => vec![(address, place.port).into()],
                Host::Name(name) => {
                    // A name that is not known here is compared as it is.
                    (name.as_str(), place.port).to_socket_addrs().map_or_else(|_| Vec::new(), Iterator::collect)
                }
            },
            Some(Peer::Unix(_)) | None => Vec::new(),
        };
        Sought { proxy, addresses }
    }

    fn is(&self, status: &Status) -> bool {
        status.listeners.iter().any(|listener| {
            let texts = [&listener.endpoint, &listener.address];
            let mut listens = texts.into_iter().filter_map(|text| text.parse::<Listen>().ok());
            listens.any(|listen| self.proxy.means(&listen))
                || listener.address.parse().is_ok_and(|bound| self.has(bound))
        })
    }

    fn has(&self, bound: SocketAddr) -> bool {
        let same = |address: IpAddr| bound.ip().is_unspecified() || bound.ip().to_canonical() == address.to_canonical();
        self.addresses.iter().any(|address| address.port() == bound.port() && same(address.ip()))
    }
}
