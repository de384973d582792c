//! What every client of a server is given.

use std::fmt::{self, Debug, Formatter};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

/// What a [`Server`](super::Server) gives to every client, in this order: descriptors with their metadata, and callbacks
/// that are called in between.
///
/// ```
/// # use socket_protector_client::handoff::Sequence;
/// # use std::ops::ControlFlow;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
/// # let log = std::fs::File::open("/dev/null").unwrap();
/// let sequence = Sequence::new()
///     .push(&listener, "web")
///     .push(log, "log")
///     .call(|| ControlFlow::Break(())); // they are sent: the server takes no further client
/// ```
#[derive(Default)]
pub struct Sequence<'a> {
    steps: Vec<Step<'a>>,
}

pub(super) enum Step<'a> {
    Give { descriptor: Box<dyn AsFd + Send + 'a>, metadata: Vec<u8> },
    Call(Box<dyn FnMut() -> ControlFlow<()> + Send + 'a>),
}

impl<'a> Sequence<'a> {
    /// An empty one: a client is given nothing.
    pub fn new() -> Sequence<'a> {
        Sequence::default()
    }

    /// Adds a descriptor: a listener, a connection, a socket for datagrams, a file, whatever has one; owned, borrowed, or
    /// shared by an [`Arc`](std::sync::Arc). It stays open here. No metadata is `""`.
    pub fn push(mut self, descriptor: impl AsFd + Send + 'a, metadata: impl Into<Vec<u8>>) -> Sequence<'a> {
        self.steps.push(Step::Give { descriptor: Box::new(descriptor), metadata: metadata.into() });
        self
    }

    /// Adds a callback. When it is called, everything before it is on its way to the client and arrives even if this
    /// process exits at once. With [`ControlFlow::Break`] the server takes no further client: it finishes those that it
    /// has, and returns.
    pub fn call(mut self, callback: impl FnMut() -> ControlFlow<()> + Send + 'a) -> Sequence<'a> {
        self.steps.push(Step::Call(Box::new(callback)));
        self
    }

    pub(super) fn steps(&mut self) -> &mut [Step<'a>] {
        &mut self.steps
    }

    /// All metadata.
    pub(super) fn metadata(&self) -> impl Iterator<Item = &[u8]> {
        self.steps.iter().filter_map(Step::metadata)
    }
}

impl Step<'_> {
    /// None of a callback.
    pub(super) fn metadata(&self) -> Option<&[u8]> {
        match self {
            Step::Give { metadata, .. } => Some(metadata),
            Step::Call(_) => None,
        }
    }

    /// None of a callback.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Step::Give { descriptor, .. } => Some(descriptor.as_fd()),
            Step::Call(_) => None,
        }
    }
}

impl Debug for Sequence<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let mut list = out.debug_list();
        for step in &self.steps {
            match (step.descriptor(), step.metadata()) {
                (Some(descriptor), metadata) => list.entry(&(descriptor, metadata.unwrap_or_default())),
                (None, _) => list.entry(&"callback"),
            };
        }
        list.finish()
    }
}
