//! The client that stays: connected until the session ends or is left, and connected again when that breaks.

use super::driver::{Driver, News};
use super::keys::{Keys, Typed};
use super::poll::{put_out, remark, signalled, stop, well};
use super::standard::Read;
use super::terminal::{Terminal, Typing};
use super::voice::Voice;
use super::{ClientError, Outcome, conclude};
use crate::session::client_state::{Breach, End, Next};
use crate::session::frame::{Closed, Detached, Refusal};
use std::time::Instant;

/// Input is read when so much of it can wait.
const ROOM: usize = 8 * 1024;

const ESCAPES: &str = "at the beginning of a line:
  ~.   leave; the session goes on
  ~^Z  stop this program for now
  ~A   are you there? (telnet)
  ~B   break (telnet)
  ~I   interrupt (telnet)
  ~?   this list
  ~~   a ~
";

/// A client that stays.
struct Follow<'a> {
    driver: &'a mut Driver,
    voice: &'a Voice,
    server: &'a str,
    /// None: it only looks on.
    input: Option<Typist>,
    ended: Option<End>,
    /// The server was asked whether the end has arrived.
    checking: bool,
    /// It was attached once.
    attached: bool,
    /// What was said last of a connection that is not there.
    missing: Option<String>,
    /// All output was asked for, since what was missing is gone.
    oldest: bool,
}

/// Where input comes from.
struct Typist {
    /// Of a terminal.
    keys: Option<Keys>,
    /// The session's input ends when this does.
    ends: bool,
    ended: bool,
}

/// Stays until the end; `input`: it sends, and its input ends with standard input or not.
pub(super) fn run(
    driver: &mut Driver,
    voice: &Voice,
    server: &str,
    input: Option<bool>,
) -> Result<Outcome, ClientError> {
    let keys = driver.terminal.is_some().then(Keys::new);
    let input = input.map(|ends| Typist { keys, ends, ended: false });
    let mut follow = Follow {
        driver,
        voice,
        server,
        input,
        ended: None,
        checking: false,
        attached: false,
        missing: None,
        oldest: false,
    };
    let remote = follow.driver.is_echoed_remotely();
    follow.remote_echo(remote)?;
    loop {
        if let Some(outcome) = follow.step()? {
            return outcome.map(|outcome| follow.left(outcome));
        }
    }
}

type Ending = Option<Result<Outcome, ClientError>>;

impl Follow<'_> {
    fn step(&mut self) -> Result<Ending, ClientError> {
        if let Some(outcome) = self.read()? {
            return Ok(Some(Ok(outcome)));
        }
        self.driver.turn()?;
        while let Some(news) = self.driver.news.pop_front() {
            if let Some(outcome) = self.understand(news)? {
                return Ok(Some(outcome));
            }
        }
        if let Some(outcome) = signalled(self.driver)? {
            return Ok(Some(Ok(outcome)));
        }
        if self.driver.output.is_closed() {
            return Ok(Some(Ok(Outcome::Left)));
        }
        if self.has_all() {
            return Ok(Some(self.over(Closed::Complete)));
        }
        Ok(None)
    }

    /// Whether the output has ended, and the server knows that its end has arrived.
    fn has_all(&mut self) -> bool {
        if self.driver.client.next() == Next::Never {
            return true;
        }
        if self.ended.is_none() || !self.driver.is_settled() {
            return false;
        }
        if !self.driver.client.is_attached() {
            self.checking = false;
        } else if !self.checking {
            self.checking = true;
            self.driver.client.check();
        }
        // Who only looks on has nothing to tell.
        self.input.is_none() || self.driver.client.is_checked()
    }

    /// Says that it is left.
    fn left(&self, outcome: Outcome) -> Outcome {
        if let (Outcome::Left, Some(ticket), Some(_)) = (&outcome, self.driver.client.ticket(), &self.input) {
            let id = ticket.id.to_string();
            self.say(&format!("left; session {} goes on", &id[..8]));
            if self.driver.client.waiting() > 0 {
                self.say(&format!("{} bytes of input wait until then", self.driver.client.waiting()));
            }
        }
        outcome
    }

    fn say(&self, text: &str) {
        self.voice.note(self.driver.terminal.as_ref(), text);
    }

    fn complain(&self, text: &str) {
        self.voice.complain(self.driver.terminal.as_ref(), text);
    }

    /// Reads standard input as far as there is room for it.
    fn read(&mut self) -> Result<Option<Outcome>, ClientError> {
        while let Some(typist) = &mut self.input
            && self.driver.input_ready
            && !typist.ended
            && (self.driver.client.room() >= ROOM || typist.keys.is_some() && !self.driver.client.takes_input())
        {
            let mut room = [0; ROOM / 2];
            match self.driver.input.read(&mut room).map_err(|source| ClientError::Input { source })? {
                Read::Later => self.driver.input_ready = false,
                Read::Bytes(count) => {
                    let mut typed = Vec::new();
                    match &mut typist.keys {
                        Some(keys) => keys.typed(&room[..count], &mut typed),
                        None => typed.push(Typed::Input(room[..count].to_vec())),
                    }
                    if let Some(outcome) = self.typed(typed)? {
                        return Ok(Some(outcome));
                    }
                }
                Read::End => {
                    typist.ended = true;
                    if let Some(outcome) = self.input_ended() {
                        return Ok(Some(outcome));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Nobody at a terminal means: leave. The end of a file or a pipe ends the input, if that is wanted.
    fn input_ended(&mut self) -> Option<Outcome> {
        let Some(Typist { keys, ends, .. }) = &self.input else {
            return None;
        };
        if *ends {
            self.driver.client.finish();
            return None;
        }
        keys.as_ref().map(|_| Outcome::Left)
    }

    fn typed(&mut self, typed: Vec<Typed>) -> Result<Option<Outcome>, ClientError> {
        for typed in typed {
            match typed {
                Typed::Input(bytes) => {
                    if self.driver.client.input(&bytes) < bytes.len() {
                        self.complain("that is not sent: the input has ended");
                    }
                }
                Typed::Show(bytes) => self.show(&bytes),
                Typed::Leave => return Ok(Some(Outcome::Left)),
                Typed::Suspend => stop(self.driver)?,
                Typed::Explain => self.explain(),
                Typed::Command(command) => {
                    if !self.driver.client.command(command) {
                        self.complain("there is no connection at the moment");
                    }
                }
                Typed::End => {
                    if let Some(outcome) = self.input_ended() {
                        return Ok(Some(outcome));
                    }
                }
            }
        }
        Ok(None)
    }

    fn show(&self, bytes: &[u8]) {
        if let Some(terminal) = &self.driver.terminal {
            terminal.show(bytes);
        }
    }

    fn explain(&self) {
        let text = format!("\n{ESCAPES}");
        let is_raw = self.driver.terminal.as_ref().is_some_and(Terminal::is_raw);
        self.show(if is_raw { text.replace('\n', "\r\n") } else { text }.as_bytes());
    }

    /// Key by key to the destination while it shows or hides what is typed, else a line at a time.
    fn remote_echo(&mut self, remote: bool) -> Result<(), ClientError> {
        let Some(Typist { keys: Some(keys), .. }) = &mut self.input else {
            return Ok(());
        };
        let mut typed = Vec::new();
        keys.remote_echo(remote, &mut typed);
        let typing = if keys.is_echoed_remotely() { Typing::Raw } else { Typing::Keys };
        if let Some(terminal) = &mut self.driver.terminal {
            terminal.set(typing).map_err(|source| ClientError::Terminal { source })?;
        }
        self.typed(typed).map(drop)
    }

    /// What follows of news; the end, if it is one.
    fn understand(&mut self, news: News) -> Result<Ending, ClientError> {
        match news {
            News::Attached { .. } => {
                remark(self.driver, self.voice, &news);
                if self.missing.take().is_some() {
                    self.say("connected again");
                }
                self.attached = true;
            }
            News::RemoteEcho(remote) => self.remote_echo(remote)?,
            // One who looks on from where he came has missed nothing that he asked for.
            News::Gap { from: 0, .. } if self.input.is_none() => {}
            News::Uncertain(_) | News::InputLost | News::Gap { .. } | News::GoAway(_) | News::NotSaved(_) => {
                remark(self.driver, self.voice, &news);
            }
            News::Ended(end) => {
                self.ended = Some(end);
                self.driver.client.finish();
            }
            News::Closed(reason) => return Ok(Some(self.over(reason))),
            News::Refused(refusal) => return Ok(self.refused(refusal)),
            News::Detached(Detached::Silent) => self.missing("the server has heard nothing of this client"),
            News::Detached(reason) => return Ok(Some(Err(ClientError::Detached(reason)))),
            News::Cut(error) => self.missing(&crate::chain(&error)),
            News::Silent => self.missing("the server says nothing"),
            News::Unreachable(error) if !self.attached && self.missing.is_none() => {
                return Ok(Some(Err(error.into())));
            }
            News::Unreachable(error) => self.missing(&crate::chain(&error)),
            News::Breach(source @ (Breach::Proof | Breach::Hello | Breach::Offset)) => {
                let server = self.server.to_owned();
                return Ok(Some(Err(ClientError::Breach { server, source })));
            }
            News::Breach(breach) => self.missing(&crate::chain(&breach)),
        }
        Ok(None)
    }

    /// There is no connection. What is so already is not said again.
    fn missing(&mut self, why: &str) {
        if self.missing.as_deref() != Some(why) {
            self.say(&format!("{why}; connecting again"));
            self.missing = Some(why.to_owned());
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Ending {
        match (refusal, self.driver.client.next()) {
            (_, Next::Never) => Some(self.over(Closed::Complete)),
            (Refusal::OutOfRange { base, .. }, _) if !self.oldest && base > self.driver.output.written() => {
                self.oldest = true;
                self.driver.client.from_oldest();
                self.driver.client.ask(Instant::now());
                None
            }
            (refusal, Next::At(_)) => {
                self.missing(&refusal.to_string());
                None
            }
            (source, Next::Asked | Next::Connected) => {
                let server = self.server.to_owned();
                Some(Err(ClientError::Refused { server, source }))
            }
        }
    }

    /// The session is over.
    fn over(&mut self, reason: Closed) -> Result<Outcome, ClientError> {
        let how = match (self.ended, reason) {
            (Some(end), _) => well(end),
            (None, Closed::Complete) => Ok(()),
            (None, reason) => Err(ClientError::Closed(reason)),
        };
        if let Some(outcome) = put_out(self.driver)? {
            return Ok(outcome);
        }
        conclude(self.driver, self.voice, how)
    }
}
