//! `wait [SRC]`: until nothing runs on a former destination, with a bar on a terminal.

use super::{Asked, source};
use crate::cli::Failure;
use crate::cli::asked::result;
use crate::cli::value::Time;
use crate::control::client::{AskError, ask};
use crate::control::wire::Reply;
use crate::forward::request::{Done, List, Request};
use crate::net::endpoint::Listen;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Between two looks at how many are left.
const LOOK: Duration = Duration::from_millis(200);

/// `wait [SRC] [--timeout T]`
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Which rule; without it, all of them
    #[arg(value_name = "SRC")]
    source: Option<String>,
    /// Wait no longer than this, and exit with 3 then
    #[arg(long, value_name = "TIME")]
    timeout: Option<Time>,
}

impl Wait {
    pub(super) fn run(&self, asked: &Asked) -> Result<ExitCode, Failure> {
        let source = self.source.as_deref().map(source).transpose()?;
        let request = Request::Wait { source: source.clone() };
        let timeout = self.timeout.map(Time::duration);
        let answer = if io::stderr().is_terminal() {
            self.with_a_bar(asked, request, source.as_deref())
        } else {
            ask(&asked.socket, &request, timeout)
        };
        let reply = answer.map_err(|error| match (error, self.timeout) {
            (AskError::TimedOut { .. }, Some(time)) => {
                Failure::not_in_time(format!("connections still run on a former destination after {time}"))
            }
            (AskError::Broken { .. }, _) => Failure::told("the forwarder has gone while connections still ran"),
            (error, _) => asked.no_answer(&error),
        })?;
        result::<Done>(reply).map(|_| ExitCode::SUCCESS)
    }

    /// One thread waits for the answer, this one shows how many are left meanwhile.
    fn with_a_bar(&self, asked: &Asked, request: Request, source: Option<&str>) -> Result<Reply, AskError> {
        let timeout = self.timeout.map(Time::duration);
        let (sender, receiver) = channel();
        let socket = asked.socket.clone();
        std::thread::spawn(move || {
            // Who has stopped to listen is at an end.
            let _ = sender.send(ask(&socket, &request, timeout));
        });
        let bar = ProgressBar::no_length();
        bar.set_style(
            ProgressStyle::with_template("{wide_bar} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let answer = show_until(&receiver, &bar, || left(asked, source));
        bar.finish_and_clear();
        answer
    }
}

fn show_until(
    answer: &Receiver<Result<Reply, AskError>>,
    bar: &ProgressBar,
    left: impl Fn() -> Option<u64>,
) -> Result<Reply, AskError> {
    let mut most = 0;
    loop {
        match answer.recv_timeout(LOOK) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Disconnected) => {
                let source = io::Error::other("whoever waited for it has ended");
                return Err(AskError::Broken { path: "the forwarder".into(), source });
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(left) = left() {
            most = left.max(most);
            bar.set_length(most);
            bar.set_position(most - left);
            bar.set_message(format!("{left} left"));
        }
    }
}

/// How many connections run on former destinations.
fn left(asked: &Asked, source: Option<&str>) -> Option<u64> {
    let wanted = source.and_then(|source| source.parse::<Listen>().ok());
    // Whoever waits has to be told of the end in time, also when the forwarder stands still.
    let list = ask(&asked.socket, &Request::List { detail: false }, Some(LOOK)).ok()?;
    let list = result::<List>(list).ok()?;
    let concerned = list.rules.iter().filter(|rule| {
        let own = rule.source.parse::<Listen>();
        wanted.as_ref().is_none_or(|wanted| own.is_ok_and(|own| own.same_place(wanted)))
    });
    let former = concerned.flat_map(|rule| &rule.destinations).filter(|destination| destination.status == "inactive");
    Some(former.map(|destination| destination.connections).sum())
}
