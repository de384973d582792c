//! What went wrong, as it is told: a message with its whole cause chain, a hint at the most, and the exit code.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;
const NOT_IN_TIME: u8 = 3;

/// An end with a message and an exit code other than 0; or, for help and version, with text for standard output.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
    /// What a child wrote to its standard error last.
    lines: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// Failed at run time.
    pub(super) fn failed(error: &dyn Error) -> Self {
        Failure::text(FAILED, crate::chain(error))
    }

    /// The same, for what no error type is for.
    pub(super) fn of_io(what: &str, error: &io::Error) -> Self {
        Failure::text(FAILED, format!("{what}: {error}"))
    }

    /// Failed at run time, in words that came from elsewhere.
    pub(super) fn told(message: impl Into<String>) -> Self {
        Failure::text(FAILED, message.into())
    }

    /// Wrong use.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Failure::text(WRONG_USE, message.into()).hint("see 'socket-protector --help'")
    }

    /// What was waited for did not come in time.
    pub(super) fn not_in_time(message: impl Into<String>) -> Self {
        Failure::text(NOT_IN_TIME, message.into())
    }

    fn text(code: u8, message: String) -> Self {
        Failure { code, message, lines: Vec::new(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, where there is one.
    pub(super) fn hint_if(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    pub(super) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    pub(super) fn lines(mut self, lines: Vec<String>) -> Self {
        self.lines = lines;
        self
    }

    /// Says what it is about first.
    pub(super) fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The exit code.
    pub(super) fn exit_code(&self) -> u8 {
        self.code
    }

    /// What the parser of the command line has to say, in our form.
    pub(super) fn of_clap(error: &clap::Error, has_dashes: bool) -> Self {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Failure::text(0, text);
        }
        let mut lines = text.lines();
        let message = lines.by_ref().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
        let message = message.strip_prefix("error: ").unwrap_or(&message);
        let about_listen = message.split_once("for '[LISTEN]...': ").map(|(_, reason)| reason.to_string());
        // What follows `--` is the command here, so the tip to put an option there would mislead.
        let tips = lines.filter_map(|line| line.trim().strip_prefix("tip: ")).filter(|tip| !tip.contains("'-- "));
        let tip = tips.map(str::to_string).next();
        let failure = Failure::usage(about_listen.clone().unwrap_or_else(|| message.to_string()));
        match tip {
            _ if about_listen.is_some() && !has_dashes => {
                failure.hint("the command comes after '--', as in: socket-protector 4321 -- mydaemon")
            }
            Some(tip) => failure.hint(tip),
            None => failure,
        }
    }

    /// Tells it, and gives the exit code to end with.
    pub(super) fn print(self) -> ExitCode {
        if self.code == 0 {
            let _ = super::print::print(&self.message);
        } else {
            // Nobody left to tell is no further failure.
            let _ = write!(io::stderr(), "{self}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "socket-protector: {}", self.message)?;
        for line in &self.lines {
            writeln!(f, "  | {line}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}
