//! Builds and servers: begun, ended, and what becomes of them.

use super::Driver;
use crate::dev::DevError;
use crate::dev::event::{Event, Failure};
use crate::dev::gate::{Generation, Input};
use crate::dev::server::ready::Question;
use crate::dev::server::{Order, Running, port};
use log::warn;
use nix::unistd::Pid;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What of a generation is under way.
#[derive(Debug)]
pub(super) enum Part {
    /// It is looked whether anybody has its port, for as long as this is there.
    Checking(#[expect(dead_code, reason = "only that it goes with the part is seen")] Arc<()>),
    /// Its build or its server; and the question whether that one answers.
    Runs(Running, Option<JoinHandle<()>>),
}

impl Part {
    /// Our child that keeps it.
    pub(super) fn keeper(&self) -> Option<Pid> {
        match self {
            Part::Checking(_) => None,
            Part::Runs(running, _) => Some(running.keeper()),
        }
    }
}

impl Driver {
    pub(super) fn build(&mut self, generation: Generation) {
        self.last = generation;
        self.echoes.started(Instant::now());
        let line = self.nursery.settings.build.clone().unwrap_or_default();
        match self.nursery.build(generation, &line) {
            Ok(running) => {
                self.parts.insert(generation, Part::Runs(running, None));
            }
            Err(error) => self.tell_cannot_run(generation, error),
        }
    }

    pub(super) fn start(&mut self, generation: Generation) {
        self.last = generation;
        self.echoes.started(Instant::now());
        let backend = self.nursery.settings.backend.clone();
        match backend.port {
            None => match port::fresh(&backend) {
                Ok(port) => self.serve(generation, port),
                Err(error) => self.tell_cannot_run(generation, error),
            },
            Some(port) => {
                let somebody = Arc::new(());
                let awaits = Arc::downgrade(&somebody);
                self.parts.insert(generation, Part::Checking(somebody));
                let inbox = self.inbox.clone();
                let patience = if self.has_run { port::LINGERS } else { Duration::ZERO };
                tokio::task::spawn_blocking(move || {
                    let checked = port::check(&backend, port, patience, &awaits);
                    let _ = inbox.send(Event::PortChecked(generation, checked));
                });
            }
        }
    }

    pub(super) fn port_checked(&mut self, generation: Generation, checked: Result<(), DevError>) {
        // It may have been ended meanwhile.
        let Some(Part::Checking(_)) = self.parts.get(&generation) else { return };
        self.parts.remove(&generation);
        match (checked, self.nursery.settings.backend.port) {
            (Ok(()), Some(port)) => self.serve(generation, port),
            (Ok(()), None) => {}
            (Err(error), _) => self.tell_cannot_run(generation, error),
        }
    }

    fn serve(&mut self, generation: Generation, port: u16) {
        match self.nursery.serve(generation, port) {
            Ok(running) => {
                self.has_run = true;
                self.chronicle.starts += 1;
                let settings = &self.nursery.settings;
                let (backend, path) = (settings.backend.clone(), settings.ready_path.clone());
                let question = Question { backend, port, path, from: settings.ready_from };
                let (family, inbox) = (running.family(), self.inbox.clone());
                let asking = tokio::spawn(async move {
                    let address = question.until_answered(family).await;
                    let _ = inbox.send(Event::Answered(generation, address));
                });
                self.parts.insert(generation, Part::Runs(running, Some(asking)));
            }
            Err(error) => self.tell_cannot_run(generation, error),
        }
    }

    /// In its turn, behind the actions that are being performed.
    fn tell_cannot_run(&self, generation: Generation, error: DevError) {
        let _ = self.inbox.send(Event::CannotRun(generation, error));
    }

    /// What cannot even be started. At the first start that is the end; later it is a change that has failed.
    pub(super) fn cannot_run(&mut self, generation: Generation, error: DevError) {
        if self.has_run {
            self.fails(Failure { summary: crate::chain(&error), lines: Vec::new(), of_build: false });
            self.input(Input::CannotRun(generation));
        } else {
            self.fatal = Some(error);
            self.over = true;
        }
    }

    pub(super) fn order(&mut self, generation: Generation, order: Order) {
        match self.parts.get_mut(&generation) {
            Some(Part::Runs(running, question)) => {
                if let Some(question) = question.take() {
                    question.abort();
                }
                running.order(order);
            }
            // Nothing of it runs. The news must not overtake what is being done.
            Some(Part::Checking(_)) => {
                self.parts.remove(&generation);
                let _ = self.inbox.send(Event::Gone(generation));
            }
            // It could not run, and the news of that are on their way.
            None => {}
        }
    }

    pub(super) fn lines(&self, generation: Generation) -> Vec<Vec<u8>> {
        match self.parts.get(&generation) {
            Some(Part::Runs(running, _)) => running.lines(),
            Some(Part::Checking(_)) | None => Vec::new(),
        }
    }

    pub(super) fn fails(&mut self, failure: Failure) {
        self.echoes.came_up(Instant::now());
        warn!("{}", failure.summary);
        let failure = Arc::new(failure);
        self.chronicle.failed(&failure);
        self.failure = Some(failure);
    }

    pub(super) fn gone(&mut self, generation: Generation) {
        if let Some(Part::Runs(_, Some(question))) = self.parts.remove(&generation) {
            question.abort();
        }
        self.input(Input::Gone(generation));
    }
}
