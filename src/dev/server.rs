//! What a generation starts, its build or its server, from its start until nothing of it is left.

pub(super) mod port;
pub(super) mod ready;

use super::DevError;
use super::address::PORT_WORD;
use super::event::{Event, Failure, Inbox};
use super::family::{self, Family, Mark, Part};
use super::gate::{Generation, KILL_LIMIT};
use super::keeper::{Keeper, Start, Word};
use super::output::{Kept, Stream, tee};
use super::settings::Settings;
use crate::process::output::pipe;
use crate::process::spawn::{Exit, SpawnError};
use log::{debug, warn};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What is asked of a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    End,
    Kill,
    /// It cannot be killed: say so. Nobody waits for it any more.
    GiveUp,
}

/// A process that runs, as the driver knows it.
#[derive(Debug)]
pub(super) struct Running {
    orders: mpsc::UnboundedSender<Order>,
    kept: Kept,
    family: Family,
    keeper: Pid,
    leader: Pid,
}

impl Running {
    pub(super) fn order(&self, order: Order) {
        // It is gone already when nobody hears this.
        let _ = self.orders.send(order);
    }

    /// Its processes.
    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Our child that keeps them, for as long as they are there.
    pub(super) fn keeper(&self) -> Pid {
        self.keeper
    }

    /// The process of the command, while it lives; later its number may be another's.
    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// What it has written last.
    pub(super) fn lines(&self) -> Vec<Vec<u8>> {
        self.kept.lines()
    }
}

/// What all processes share.
#[derive(Debug)]
pub(super) struct Nursery {
    pub(super) settings: Arc<Settings>,
    pub(super) mark: Mark,
    /// The limits of open files that our caller had.
    pub(super) open_files: Option<(u64, u64)>,
    /// The directory in which we have begun.
    pub(super) root: PathBuf,
    pub(super) inbox: Inbox,
}

impl Nursery {
    /// Starts the server of a generation, which is to listen on this port.
    ///
    /// # Errors
    /// Why it cannot run; nothing is left behind.
    pub(super) fn serve(&self, generation: Generation, port: u16) -> Result<Running, DevError> {
        let number = port.to_string();
        let command: Vec<_> = self.settings.command.iter().map(|word| with_port(word, &number)).collect();
        let mut environment = self.environment(Part::Server(generation));
        set(&mut environment, "PORT", number.into());
        self.start(Part::Server(generation), &command, &environment)
    }

    /// Runs the build of a generation.
    ///
    /// # Errors
    /// Why it cannot run; nothing is left behind.
    pub(super) fn build(&self, generation: Generation, line: &OsStr) -> Result<Running, DevError> {
        let command = ["/bin/sh".into(), "-c".into(), line.to_owned()];
        self.start(Part::Build(generation), &command, &self.environment(Part::Build(generation)))
    }

    fn environment(&self, part: Part) -> Vec<(OsString, OsString)> {
        let mut environment: Vec<_> = std::env::vars_os().collect();
        let (name, value) = self.mark.variable(part);
        set(&mut environment, &name, value);
        environment
    }

    fn start(
        &self,
        part: Part,
        command: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<Running, DevError> {
        let failed = |source: io::Error| SpawnError::Process { program: command[0].clone().into(), source };
        let (tee, kept) = tee();
        let (error, error_end) = pipe().map_err(failed)?;
        tee.read(error, Stream::Stderr).map_err(failed)?;
        // A server's standard output is ours: a program that finds a terminal there says at once what it has to say.
        let output_end = match part {
            Part::Server(_) => None,
            Part::Build(_) => {
                let (output, end) = pipe().map_err(failed)?;
                tee.read(output, Stream::Stdout).map_err(failed)?;
                Some(end)
            }
        };
        drop(tee);
        let (Part::Build(generation) | Part::Server(generation)) = part;
        debug!("{} of generation {} starts", name(part), generation.0);
        let keeper = Keeper::start(&Start {
            part,
            mark: &self.mark,
            command,
            environment,
            output: output_end.as_ref(),
            error: &error_end,
            open_files: self.open_files,
            directory: &self.root,
        })?;
        let (orders, ordered) = mpsc::unbounded_channel();
        let (family, pid, leader) = (keeper.family(), keeper.pid(), keeper.leader());
        let running = Running { orders, kept: kept.clone(), family, keeper: pid, leader };
        let attendant = Attendant {
            part,
            family: running.family,
            ordered,
            kept,
            stop_signal: self.settings.stop_signal,
            mark: self.mark.clone(),
            inbox: self.inbox.clone(),
        };
        tokio::spawn(attendant.attend(keeper));
        Ok(running)
    }
}

/// The word with every `{port}` in it replaced.
fn with_port(word: &OsStr, port: &str) -> OsString {
    let (bytes, mut made) = (word.as_bytes(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(PORT_WORD.as_bytes()) {
            made.extend_from_slice(port.as_bytes());
            at += PORT_WORD.len();
        } else {
            made.push(bytes[at]);
            at += 1;
        }
    }
    OsString::from_vec(made)
}

fn set(environment: &mut Vec<(OsString, OsString)>, name: impl AsRef<OsStr>, value: OsString) {
    let name = name.as_ref();
    environment.retain(|(other, _)| other != name);
    environment.push((name.to_owned(), value));
}

/// Looks after one keeper and what it keeps.
struct Attendant {
    part: Part,
    family: Family,
    ordered: mpsc::UnboundedReceiver<Order>,
    kept: Kept,
    stop_signal: Signal,
    mark: Mark,
    inbox: Inbox,
}

impl Attendant {
    async fn attend(mut self, mut keeper: Keeper) {
        let mut orders = Orders::default();
        // Ordered or not, the first process comes to its end.
        let word = loop {
            tokio::select! {
                word = keeper.next() => break word,
                order = self.ordered.recv() => self.obey(order, &mut orders, &mut keeper).await,
            }
        };
        let end = match word {
            Some(Word::Exited(exit)) => Some(exit),
            Some(_) | None => None,
        };
        let failure = (!orders.any()).then(|| describe(self.part, end));
        let failure = match failure {
            Some(summary) => {
                let of_build = matches!(self.part, Part::Build(_));
                Some(Failure { summary, lines: self.kept.last_lines().await, of_build })
            }
            None => None,
        };
        match (self.part, failure) {
            (Part::Server(generation), failure) => {
                if let Some(failure) = failure {
                    let _ = self.inbox.send(Event::Exited(generation, failure));
                }
                self.see_off(keeper, orders).await;
                // Whoever hears that it is gone may end us, and its last words with us.
                self.kept.last_lines().await;
                let _ = self.inbox.send(Event::Gone(generation));
            }
            (Part::Build(generation), failure) => {
                // What is left of a build in its group is of no use to anybody.
                keeper.kill().await;
                if tokio::time::timeout(KILL_LIMIT, self.see_off(keeper, orders)).await.is_err() {
                    self.tell_given_up().await;
                }
                let _ = self.inbox.send(match (end, failure) {
                    (Some(Exit::Status(0)), Some(_)) => Event::Built(generation, Ok(())),
                    (_, Some(failure)) => Event::Built(generation, Err(failure)),
                    (_, None) => Event::Gone(generation),
                });
            }
        }
    }

    async fn obey(&self, order: Option<Order>, orders: &mut Orders, keeper: &mut Keeper) {
        match order {
            Some(Order::End) => {
                orders.end = true;
                keeper.signal(self.stop_signal).await;
            }
            Some(Order::Kill) => {
                orders.kill = true;
                keeper.kill().await;
            }
            Some(Order::GiveUp) => self.tell_given_up().await,
            // The driver is gone, and we go with it. It is not to be asked again and again.
            None => {
                keeper.kill().await;
                std::future::pending::<()>().await;
            }
        }
    }

    async fn tell_given_up(&self) {
        let family = self.family;
        let left = tokio::task::spawn_blocking(move || family.members()).await.unwrap_or_default();
        let left: Vec<_> = left.into_iter().map(port::describe).collect();
        warn!("{}", given_up(self.part, &left));
    }

    /// Waits until nothing is left.
    async fn see_off(&mut self, mut keeper: Keeper, mut orders: Orders) {
        let well = loop {
            tokio::select! {
                word = keeper.next() => match word {
                    Some(Word::Gone) => break true,
                    Some(_) => {}
                    None => break false,
                },
                order = self.ordered.recv() => self.obey(order, &mut orders, &mut keeper).await,
            }
        };
        keeper.reap().await;
        if !well {
            self.sweep().await;
        }
    }

    /// Kills what a keeper has left that somebody has killed.
    async fn sweep(&self) {
        loop {
            let (mark, part) = (self.mark.clone(), self.part);
            if !tokio::task::spawn_blocking(move || family::kill_carriers(&mark, part)).await.unwrap_or_default() {
                return;
            }
            tokio::time::sleep(family::LOOK).await;
        }
    }
}

/// What a process has been asked.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    end: bool,
    kill: bool,
}

impl Orders {
    fn any(self) -> bool {
        self.end || self.kill
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Build(_) => "the build",
        Part::Server(_) => "the server",
    }
}

/// That these processes of a part could not be killed.
fn given_up(part: Part, left: &[String]) -> String {
    let who = match left {
        [] => "something".to_owned(),
        left => left.join(", "),
    };
    format!("{who} of {} cannot be killed, and is waited for no longer", name(part))
}

fn describe(part: Part, exit: Option<Exit>) -> String {
    let what = name(part);
    match exit {
        Some(exit) => format!("{what} {exit}"),
        None => format!("{what} has ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::{describe, given_up, set, with_port};
    use crate::dev::family::Part;
    use crate::dev::gate::Generation;
    use crate::process::spawn::Exit;
    use std::ffi::{OsStr, OsString};

    #[test]
    fn every_mention_of_the_port_in_a_word_is_replaced() {
        let word = |text: &str| with_port(OsStr::new(text), "81").into_string().unwrap();
        assert_eq!(word("--bind=[::1]:{port}"), "--bind=[::1]:81");
        assert_eq!(word("{port}{port}"), "8181");
        assert_eq!(word("{Port} {{port} {port"), "{Port} {81 {port");
    }

    #[test]
    fn a_variable_is_there_once() {
        let mut environment = vec![(OsString::from("PORT"), OsString::from("1")), ("A".into(), "b".into())];
        set(&mut environment, "PORT", "2".into());
        assert_eq!(environment, [("A".into(), "b".into()), (OsString::from("PORT"), OsString::from("2"))]);
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(describe(Part::Server(Generation(1)), Some(Exit::Status(3))), "the server exited with status 3");
        assert_eq!(describe(Part::Build(Generation(1)), None), "the build has ended");
    }

    #[test]
    fn what_cannot_be_killed_is_named() {
        let part = Part::Server(Generation(1));
        let line = given_up(part, &["web (pid 12)".into(), "pid 13".into()]);
        assert_eq!(line, "web (pid 12), pid 13 of the server cannot be killed, and is waited for no longer");
        assert!(given_up(part, &[]).starts_with("something of the server cannot"));
    }
}
