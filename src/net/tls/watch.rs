//! Looking at the files of identities from time to time, on a thread of its own: a file system may hang, and nothing
//! that serves connections shall wait for it.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::certificate::Moment;
use super::client::ClientIdentity;
use super::error::{LoadError, Remark};
use super::rotation::Refresh;
use super::server::ServerIdentity;

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    orders: Sender<Order>,
}

/// What there is to tell of an identity.
#[derive(Debug)]
pub struct Change {
    /// The name that the identity was given.
    pub name: String,
    /// What has happened.
    pub what: What,
}

/// What can happen to an identity.
#[derive(Debug)]
pub enum What {
    /// New connections get what the files now have.
    Swapped {
        /// The end of the new certificate's time, if there is one.
        expires: Option<Moment>,
        /// What to warn of.
        remarks: Vec<Arc<Remark>>,
    },
    /// The files have changed and cannot be used; what was loaded before stays.
    Kept(LoadError),
    /// The certificate in use is past its time, and its files have no other.
    Expired(Moment),
}

impl Change {
    /// Whether somebody should do something about it.
    pub fn is_warning(&self) -> bool {
        match &self.what {
            What::Swapped { remarks, .. } => !remarks.is_empty(),
            What::Kept(_) | What::Expired(_) => true,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.what {
            What::Swapped { expires, remarks } => {
                write!(f, "{name}: new connections use the changed TLS files")?;
                if let Some(at) = expires {
                    write!(f, ", valid until {at}")?;
                }
                remarks.iter().try_for_each(|remark| write!(f, "; {remark}"))
            }
            What::Kept(error) => {
                write!(f, "{name}: the changed TLS files cannot be used, the former ones stay: {}", crate::chain(error))
            }
            What::Expired(at) => write!(f, "{name}: the certificate in use expired at {at}"),
        }
    }
}

enum Order {
    Add(Watched),
    Look,
}

impl Watch {
    /// How often to look where nothing else is asked for.
    pub const EVERY: Duration = Duration::from_secs(2);

    /// Looks every so often. `tell` is called on the thread and should do no more than put into a queue.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(every: Duration, tell: impl FnMut(Change) + Send + 'static) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        thread::Builder::new().name("tls files".to_owned()).spawn(move || run(every, &ordered, tell))?;
        Ok(Self { orders })
    }

    /// Looks at this one's files too, until nobody else has it.
    pub fn server(&self, name: String, identity: &Arc<ServerIdentity>) {
        self.add(name, Identity::Server(Arc::downgrade(identity)));
    }

    /// Looks at this one's files too, until nobody else has it.
    pub fn client(&self, name: String, identity: &Arc<ClientIdentity>) {
        self.add(name, Identity::Client(Arc::downgrade(identity)));
    }

    /// Looks at all files now.
    pub fn look(&self) {
        // The thread ends after this alone.
        drop(self.orders.send(Order::Look));
    }

    fn add(&self, name: String, identity: Identity) {
        drop(self.orders.send(Order::Add(Watched { name, identity, told: None })));
    }
}

fn run(every: Duration, ordered: &Receiver<Order>, mut tell: impl FnMut(Change)) {
    let mut all: Vec<Watched> = Vec::new();
    let mut last = Instant::now();
    loop {
        match ordered.recv_timeout(every.saturating_sub(last.elapsed())) {
            Ok(Order::Add(watched)) => all.push(watched),
            Ok(Order::Look) | Err(RecvTimeoutError::Timeout) => {
                all.retain_mut(|watched| watched.look(&mut tell));
                last = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Watched {
    name: String,
    identity: Identity,
    /// The end that was told already.
    told: Option<Moment>,
}

enum Identity {
    Server(Weak<ServerIdentity>),
    Client(Weak<ClientIdentity>),
}

impl Watched {
    /// Looks once; whether anybody still has the identity.
    fn look(&mut self, tell: &mut impl FnMut(Change)) -> bool {
        let (refresh, expires) = match &self.identity {
            Identity::Server(identity) => {
                let Some(identity) = identity.upgrade() else { return false };
                (identity.refresh(), Some(identity.expires()))
            }
            Identity::Client(identity) => {
                let Some(identity) = identity.upgrade() else { return false };
                (identity.refresh(), identity.expires())
            }
        };
        let mut tell = |what| tell(Change { name: self.name.clone(), what });
        match refresh {
            Refresh::Unchanged => {}
            Refresh::Swapped { expires, remarks } => tell(What::Swapped { expires, remarks }),
            Refresh::Kept(error) => tell(What::Kept(error)),
        }
        if let Some(at) = expires.filter(|at| at.0 < SystemTime::now() && self.told != Some(*at)) {
            tell(What::Expired(at));
            self.told = Some(at);
        }
        true
    }
}
