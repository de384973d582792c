//! One process that a generation starts, its build or its server, from its start until nothing of it is left.
//!
//! It is started by the thread that lives as long as we do: its parent-death signal is sent when that thread ends.

pub(super) mod port;
pub(super) mod ready;

use super::DevError;
use super::address::PORT_WORD;
use super::event::{Event, Failure, Inbox};
use super::family::{Family, Mark, Part};
use super::gate::Generation;
use super::keeper::Keeper;
use super::output::{Kept, Stream, tee};
use super::settings::Settings;
use crate::process::output::pipe;
use crate::process::spawn::{self, Exit, Launch, Process, SpawnError, null_device};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it is looked whether anything is left of processes that have been asked to end.
const LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(50);

/// What is asked of a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    End,
    Kill,
}

/// A process that runs, as the driver knows it.
#[derive(Debug)]
pub(super) struct Running {
    orders: mpsc::UnboundedSender<Order>,
    kept: Kept,
    family: Family,
}

impl Running {
    pub(super) fn order(&self, order: Order) {
        // It is gone already when nobody hears this.
        let _ = self.orders.send(order);
    }

    /// Its processes.
    pub(super) fn family(&self) -> Family {
        self.family.clone()
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
    pub(super) keeper: Arc<Mutex<Keeper>>,
    /// Children that this process had before it became this program: they are somebody else's.
    pub(super) foreign: Vec<Pid>,
    /// The limits of open files that our caller had.
    pub(super) open_files: Option<(u64, u64)>,
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
        let null = null_device().map_err(failed)?;
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
        let process = self.spawn(command, environment, &null, (output_end.as_ref(), &error_end))?;
        let family = Family::new(process.pid(), &self.mark, part);
        let (orders, ordered) = mpsc::unbounded_channel();
        let attendant = Attendant {
            part,
            family: family.clone(),
            ordered,
            kept: kept.clone(),
            stop_signal: self.settings.stop_signal,
            keeper: Arc::clone(&self.keeper),
            inbox: self.inbox.clone(),
        };
        match process.exit_descriptor() {
            Ok(exit) => {
                tokio::spawn(attendant.attend(process, exit));
                Ok(Running { orders, kept, family })
            }
            Err(error) => {
                spawn::signal_group(&process, Signal::SIGKILL);
                self.keeper.lock().unwrap_or_else(PoisonError::into_inner).remove(process.pid());
                process.reap();
                Err(failed(error).into())
            }
        }
    }

    fn spawn(
        &self,
        command: &[OsString],
        environment: &[(OsString, OsString)],
        null: &OwnedFd,
        (output, error): (Option<&OwnedFd>, &OwnedFd),
    ) -> Result<Process, DevError> {
        let mut descriptors: Vec<(BorrowedFd<'_>, i32)> = vec![(null.as_fd(), 0), (error.as_fd(), 2)];
        descriptors.extend(output.map(|end| (end.as_fd(), 1)));
        let process = spawn::spawn(&Launch {
            command,
            environment,
            listen_pid: false,
            descriptors: &descriptors,
            directory: None,
            open_files: self.open_files,
            death_signal: Some(Signal::SIGKILL),
        })?;
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).add(process.pid());
        Ok(process)
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

/// Looks after one process.
struct Attendant {
    part: Part,
    family: Family,
    ordered: mpsc::UnboundedReceiver<Order>,
    kept: Kept,
    stop_signal: Signal,
    keeper: Arc<Mutex<Keeper>>,
    inbox: Inbox,
}

impl Attendant {
    async fn attend(mut self, process: Process, exit: OwnedFd) {
        let mut orders = Orders::default();
        let mut exited = tokio::task::spawn_blocking(move || wait(&exit));
        // Ordered or not, the leader comes to its end.
        loop {
            tokio::select! {
                _ = &mut exited => break,
                order = self.ordered.recv() => self.obey(order, &mut orders).await,
            }
        }
        let end = process.exit();
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
                self.see_off(process, orders).await;
                // Whoever hears that it is gone may end us, and its last words with us.
                self.kept.last_lines().await;
                let _ = self.inbox.send(Event::Gone(generation));
            }
            (Part::Build(generation), failure) => {
                // What is left of a build in its group is of no use to anybody.
                orders.kill = true;
                self.see_off(process, orders).await;
                let _ = self.inbox.send(match (end, failure) {
                    (Some(Exit::Status(0)), Some(_)) => Event::Built(generation, Ok(())),
                    (_, Some(failure)) => Event::Built(generation, Err(failure)),
                    (_, None) => Event::Gone(generation),
                });
            }
        }
    }

    async fn obey(&self, order: Option<Order>, orders: &mut Orders) {
        let signal = match order {
            Some(Order::End) => {
                orders.end = true;
                self.stop_signal
            }
            // The driver is gone, and we go with it.
            Some(Order::Kill) | None => {
                orders.kill = true;
                Signal::SIGKILL
            }
        };
        self.in_thread(move |family| family.signal(signal)).await;
        if order.is_none() {
            // It is not to be asked again and again.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until nothing is left, and reaps the leader, whose number is the group's until then.
    async fn see_off(&mut self, process: Process, mut orders: Orders) {
        let mut pause = LOOK;
        loop {
            let kill = orders.kill;
            let left = self.in_thread(move |family| {
                if kill {
                    family.signal(Signal::SIGKILL);
                }
                family.members()
            });
            if left.await.is_some_and(|left| left.is_empty()) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_LOOK),
                order = self.ordered.recv() => self.obey(order, &mut orders).await,
            }
        }
        let leader: Pid = process.pid();
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).remove(leader);
        process.reap();
    }

    /// `/proc` is looked through by a thread, since there may be thousands of processes.
    async fn in_thread<T: Send + 'static>(&self, look: impl FnOnce(&Family) -> T + Send + 'static) -> Option<T> {
        let family = self.family.clone();
        tokio::task::spawn_blocking(move || look(&family)).await.ok()
    }
}

/// Waits until a process exits, as its descriptor tells.
fn wait(exit: &OwnedFd) {
    while poll(&mut [PollFd::new(exit.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) == Err(Errno::EINTR) {}
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

fn describe(part: Part, exit: Option<Exit>) -> String {
    let what = match part {
        Part::Build(_) => "the build",
        Part::Server(_) => "the server",
    };
    match exit {
        Some(exit) => format!("{what} {exit}"),
        None => format!("{what} has ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::{describe, set, with_port};
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
}
