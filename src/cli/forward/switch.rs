//! `switch SRC DST`: at once, tried first, undone by itself, or for a share.

use super::{Asked, destination, settled, source, time_ms};
use crate::cli::Failure;
use crate::cli::asked::result;
use crate::cli::value::Time;
use crate::control::client::ask;
use crate::forward::probe::Probe;
use crate::forward::request::{self, Done, Request};
use clap::Args;
use std::process::ExitCode;

/// `switch SRC DST`
#[derive(Debug, Args)]
pub(super) struct Switch {
    /// Which rule
    #[arg(value_name = "SRC")]
    source: String,
    /// Where its new connections go
    #[arg(value_name = "DST")]
    destination: String,
    /// Try DST first: connect, tls, or send:TEXT,expect:TEXT
    ///
    /// If that fails nothing is changed. In a TEXT stand \r, \n, \t, \\, \, and \xNN for what they usually do.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "connect")]
    probe: Option<Probe>,
    /// How long trying it may take
    #[arg(long, value_name = "TIME", default_value = "5s")]
    probe_timeout: Time,
    /// For so long after the switch a connection to DST that cannot be made undoes it
    #[arg(long, value_name = "TIME")]
    guard: Option<Time>,
    /// Return when the switch has begun, and not when it stands
    #[arg(long)]
    no_wait: bool,
    /// Only this share of new connections goes to DST, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    weight: u8,
}

impl Switch {
    pub(super) fn run(&self, asked: &Asked) -> Result<ExitCode, Failure> {
        let request = Request::Switch(request::Switch {
            source: source(&self.source)?,
            destination: destination(&self.destination)?,
            probe: self.probe.as_ref().map(Probe::to_string),
            probe_timeout_ms: time_ms(self.probe_timeout),
            guard_ms: self.guard.map_or(0, time_ms),
            weight: self.weight,
            wait: !self.no_wait,
        });
        let reply = ask(&asked.socket, &request, None).map_err(|error| asked.no_answer(&error))?;
        let about = format!("cannot switch {} to {}", self.source, self.destination);
        settled(&result::<Done>(reply).map_err(|failure| failure.about(&about))?);
        Ok(ExitCode::SUCCESS)
    }
}
