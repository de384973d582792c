//! Signals as a source: caught from the first statement of main on, told one by one when the loop asks.

use mio::event::Source;
use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use std::io;

/// The signals that a long-running role catches. PIPE and CHLD are among them so that no default and no inherited
/// "ignore" applies: an ignored CHLD would lose the children's exit status.
const CAUGHT: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
    Signal::SIGPIPE,
];

/// Caught signals. One that comes several times before it is asked for is told once.
pub struct Signals(signal_hook_mio::v1_0::Signals);

impl Signals {
    /// Catches the signals from here on and lets in what an inherited mask held back.
    ///
    /// # Errors
    /// Those of socketpair(2) and sigaction(2).
    pub fn catch() -> io::Result<Self> {
        let signals = signal_hook_mio::v1_0::Signals::new(CAUGHT.map(|signal| signal as i32))?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(Signals(signals))
    }

    /// Catches further ones, which only some roles have to do with.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn catch_also(&self, signals: &[Signal]) -> io::Result<()> {
        signals.iter().try_for_each(|signal| self.0.add_signal(*signal as i32))
    }

    /// Gives every signal its default again, for a command that does not stay: ^C shall end it.
    pub fn release(self) {
        // PIPE keeps its catcher: a closed standard output is an error of write(2), never a death.
        let signals = CAUGHT.iter().filter(|signal| **signal != Signal::SIGPIPE);
        crate::sys::default_signals(&signals.map(|signal| *signal as i32).collect::<Vec<_>>());
    }

    /// The signals that came since the last call.
    pub fn pending(&mut self) -> impl Iterator<Item = Signal> {
        self.0.pending().filter_map(|number| Signal::try_from(number).ok())
    }
}

impl Source for Signals {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}
