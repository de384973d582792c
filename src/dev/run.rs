//! A proxy for development from its beginning to its end.

use super::DevError;
use super::address::Bind;
use super::browsers::Browsers;
use super::control::{Answers, Control};
use super::driver::{Driver, Title};
use super::event::Event;
use super::extensions::Extensions;
use super::family::Mark;
use super::instance::Instance;
use super::livereload;
use super::proxy::hosts::Hosts;
use super::proxy::refused::Commands;
use super::proxy::{self, Front};
use super::server::Nursery;
use super::settings::Settings;
use super::terminal::Modes;
use super::watch;
use crate::process::limits;
use crate::process::stray::{self, Stray};
use crate::reactor::Signals;
use log::{info, warn};
use nix::sys::signal::Signal;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// So long answers that are under way at our end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// One thread for connections is enough for a browser; the other is for those that copy much.
const THREADS: usize = 2;

/// Serves until a signal ends it, and gives that one. `root` is the directory whose files are watched.
///
/// # Errors
/// Why it cannot begin, or what cannot be run at the first start.
pub fn run(settings: Settings, root: &Path, signals: Signals) -> Result<Option<Signal>, DevError> {
    stray::deal_with(Stray::CloseOnExec);
    let _terminal = Modes::remember();
    let open_files = limits::raise_open_files().ok();
    let named = Instance::named(&settings)?;
    let listeners = listen(&settings.bind)?;
    let instance = named.map_or_else(|| Instance::unnamed(&settings, &listeners), Ok)?;
    let mark = Mark::new();
    let (inbox, mut events) = mpsc::unbounded_channel();
    let (control, answers) = Control::start(signals, &instance, inbox.clone())?;
    let answers = Arc::new(answers);
    let title = Title { name: instance.name().to_string(), listeners: Vec::new(), since: Instant::now() };
    let nursery = Nursery { settings: Arc::new(settings), mark, open_files, root: root.to_owned(), inbox };
    let scene = Scene { nursery, root, listeners, title, answers: Arc::clone(&answers) };
    let ended = scene.play(&mut events);
    control.end(&answers);
    ended
}

/// All that is there when it begins.
struct Scene<'a> {
    nursery: Nursery,
    root: &'a Path,
    listeners: Vec<TcpListener>,
    title: Title,
    answers: Arc<Answers>,
}

impl Scene<'_> {
    fn play(self, events: &mut mpsc::UnboundedReceiver<Event>) -> Result<Option<Signal>, DevError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime = runtime.map_err(|source| DevError::Begin { what: "start the runtime", source })?;
        let ended = runtime.block_on(self.serve(events));
        runtime.shutdown_background();
        ended
    }

    async fn serve(self, events: &mut mpsc::UnboundedReceiver<Event>) -> Result<Option<Signal>, DevError> {
        let Scene { nursery, root, listeners, mut title, answers } = self;
        let settings = Arc::clone(&nursery.settings);
        let (closing, open) = proxy::closing();
        let browsers = Arc::new(Browsers::new(nursery.mark.token().to_owned()));
        let front = Arc::new(front(&settings, &nursery, Arc::clone(&browsers))?);
        let door = Arc::clone(&front.door);
        for listener in listeners {
            let failed = |source| DevError::Listen { bind: settings.bind.clone(), source };
            let address = listener.local_addr().map_err(failed)?;
            info!("{}://{address} leads to {}", front.scheme(), settings.backend);
            title.listeners.push(format!("{}://{address}", front.scheme()));
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            tokio::spawn(proxy::accept(listener, Arc::clone(&front), open.clone()));
        }
        drop(open);
        watch::start(root, &settings.files, nursery.inbox.clone())?;
        if settings.livereload {
            tell_extensions(&settings.bind, &front);
        }
        let ended = Driver::new(nursery, browsers, door, title, answers).run(events).await;
        // Whoever still asks where to go hears that there is nothing.
        events.close();
        while events.try_recv().is_ok() {}
        closing.close(LAST_ANSWERS).await;
        ended
    }
}

fn front(settings: &Settings, nursery: &Nursery, browsers: Arc<Browsers>) -> Result<Front, DevError> {
    let names = settings.allowed_hosts.iter().map(String::as_str).chain([settings.bind.host.as_str()]);
    let tls = settings.tls.as_ref().map(|identity| identity.load(&settings.bind.host)).transpose()?;
    Ok(Front {
        inbox: nursery.inbox.clone(),
        door: Arc::default(),
        hosts: Hosts::new(names),
        via: format!("socket-protector-{}", nursery.mark.token()),
        authority: settings.bind.to_string(),
        tls: tls.map(|identity| TlsAcceptor::from(identity.config())),
        next: AtomicU64::new(1),
        browsers,
        inject: settings.inject,
        commands: commands(settings),
    })
}

/// The commands as lines for a reader.
fn commands(settings: &Settings) -> Commands {
    let words: Vec<_> = settings.command.iter().map(|word| word.to_string_lossy()).collect();
    let build = settings.build.as_ref().map(|line| line.to_string_lossy().into_owned());
    Commands { server: words.join(" "), build: build.unwrap_or_default() }
}

/// Listens at LiveReload's port. Another program that does so already has come first, be it another instance of ours.
fn tell_extensions(bind: &Bind, front: &Front) {
    let port = Bind { host: bind.host.clone(), port: livereload::PORT };
    let listeners = listen(&port).and_then(|listeners| {
        let register = |listener| tokio::net::TcpListener::from_std(listener);
        let failed = |source| DevError::Listen { bind: port.clone(), source };
        listeners.into_iter().map(register).collect::<io::Result<Vec<_>>>().map_err(failed)
    });
    match listeners {
        Ok(listeners) => {
            let extensions = Extensions::new(Arc::clone(&front.browsers), front.hosts.clone());
            for listener in listeners {
                tokio::spawn(Arc::clone(&extensions).accept(listener));
            }
        }
        Err(error) => warn!("browser extensions are not told of changes: {}", crate::chain(&error)),
    }
}

/// Listens at every address of the host: at the second and further ones by the same port, where there are such.
fn listen(bind: &Bind) -> Result<Vec<TcpListener>, DevError> {
    let failed = |source| DevError::Listen { bind: bind.clone(), source };
    let addresses = (bind.host.as_str(), bind.port).to_socket_addrs();
    let addresses: Vec<SocketAddr> =
        addresses.map_err(|source| DevError::Resolve { bind: bind.clone(), source })?.collect();
    let (mut listeners, mut port, mut refused) = (Vec::new(), bind.port, None);
    for mut address in addresses {
        address.set_port(port);
        match bind_to(address) {
            Ok(listener) => {
                port = listener.local_addr().map_err(failed)?.port();
                listeners.push(listener);
            }
            // This host does not speak that family.
            Err(error) if is_absent(&error) => refused = Some(error),
            // For a port that we may choose the other family is not worth a failure.
            Err(_) if bind.port == 0 && !listeners.is_empty() => {}
            Err(error) => return Err(failed(error)),
        }
    }
    match refused {
        Some(error) if listeners.is_empty() => Err(failed(error)),
        Some(_) | None => Ok(listeners),
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}
