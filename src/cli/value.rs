//! The values of options: delays, counts, sizes, signals and paths, and times, which others read as well. Each is read from its text and writes one that reads back the same.

mod size;
#[cfg(test)]
mod tests;

pub use size::{Size, SizeError};

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;

pub use crate::time::{Time, TimeError, TimeOrNever};

/// The word for no limit.
const NEVER: &str = "never";

/// The longest path that a probe asks for, in bytes.
const LONGEST_PATH: usize = 1024;

/// The first and the longest delay of a back-off: `100ms..30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayRange {
    min: Duration,
    max: Duration,
}

/// A number, or `never` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountOrNever(Option<u32>);

/// A signal that can tell a child to drain: `TERM`, `SIGTERM` or `15`, in any case of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainSignal(Signal);

/// A signal that asks a process to end: `TERM`, `SIGINT`, `9`, in any case of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(Signal);

/// The path that a probe asks for: `/healthz`, `/ready?deep=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePath(String);

/// Why a text is no such value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Not a time where one belongs.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Not the form of a range.
    #[error("not a range of delays: '{}'; expected MIN..MAX, such as 100ms..30s", .0.escape_debug())]
    DelayRange(String),
    /// No delay at all would be a loop without rest.
    #[error("not a range of delays: '{}'; expected a MIN above 0", .0.escape_debug())]
    NoDelay(String),
    /// The wrong way round.
    #[error("not a range of delays: '{}'; expected a MIN that is not above MAX", .0.escape_debug())]
    Reversed(String),
    /// Not a number, or too large a one.
    #[error("not a count: '{}'; expected a number from 0 to {} or never", .0.escape_debug(), u32::MAX)]
    Count(String),
    /// No signal has this name or number.
    #[error("not a signal: '{}'; expected a name or number such as TERM, SIGTERM or 15", .0.escape_debug())]
    Signal(String),
    /// It ends nothing.
    #[error("not a signal to end on: STOP and CONT end no process")]
    NoEnd,
    /// A path begins at the root of the server.
    #[error("not a path to probe: '{}'; expected one that begins with '/', such as /healthz", .0.escape_debug())]
    PathStart(String),
    /// It would not fit into the line of a request.
    #[error("not a path to probe: '{}' at position {at} of '{}'; expected visible ASCII characters, others as %20", found.escape_debug(), text.escape_debug())]
    PathByte {
        /// The whole path.
        text: String,
        /// The character.
        found: char,
        /// Its place, from 1.
        at: usize,
    },
    /// Too long for many a server.
    #[error("too long a path to probe: {0} bytes; expected at most {LONGEST_PATH}")]
    PathLength(usize),
    /// A child cannot notice it.
    #[error("not a signal to drain on: KILL ends a child with the connections it has")]
    Kill,
    /// A child cannot notice this one either.
    #[error("not a signal to drain on: STOP freezes a child with the connections it has")]
    Stop,
}

impl DelayRange {
    /// The first delay, more than zero.
    #[must_use]
    pub const fn min(self) -> Duration {
        self.min
    }

    /// The longest delay, no less than the first.
    #[must_use]
    pub const fn max(self) -> Duration {
        self.max
    }
}

impl FromStr for DelayRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (min, max) = text.split_once("..").ok_or_else(|| ValueError::DelayRange(text.to_owned()))?;
        let (min, max) = (min.parse::<Time>()?.duration(), max.parse::<Time>()?.duration());
        if min.is_zero() {
            Err(ValueError::NoDelay(text.to_owned()))
        } else if min > max {
            Err(ValueError::Reversed(text.to_owned()))
        } else {
            Ok(Self { min, max })
        }
    }
}

impl fmt::Display for DelayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", Time::of(self.min), Time::of(self.max))
    }
}

impl CountOrNever {
    /// The number, or `None` for never.
    #[must_use]
    pub const fn limit(self) -> Option<u32> {
        self.0
    }
}

impl FromStr for CountOrNever {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            NEVER => Ok(Self(None)),
            // The standard parser would take a sign.
            _ if !text.starts_with('+') => {
                text.parse().map(|count| Self(Some(count))).map_err(|_| ValueError::Count(text.to_owned()))
            }
            _ => Err(ValueError::Count(text.to_owned())),
        }
    }
}

impl fmt::Display for CountOrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => count.fmt(f),
            None => f.write_str(NEVER),
        }
    }
}

impl DrainSignal {
    /// The signal itself.
    #[must_use]
    pub const fn signal(self) -> Signal {
        self.0
    }
}

impl FromStr for DrainSignal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let signal = signal(text).ok_or_else(|| ValueError::Signal(text.to_owned()))?;
        if signal == Signal::SIGKILL {
            Err(ValueError::Kill)
        } else if signal == Signal::SIGSTOP {
            Err(ValueError::Stop)
        } else {
            Ok(Self(signal))
        }
    }
}

impl StopSignal {
    /// The signal itself.
    #[must_use]
    pub const fn signal(self) -> Signal {
        self.0
    }
}

impl FromStr for StopSignal {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match signal(text).ok_or_else(|| ValueError::Signal(text.to_owned()))? {
            Signal::SIGSTOP | Signal::SIGCONT => Err(ValueError::NoEnd),
            signal => Ok(Self(signal)),
        }
    }
}

/// The name as users and the default of the option write it, without `SIG`.
impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DrainSignal(self.0).fmt(f)
    }
}

fn signal(text: &str) -> Option<Signal> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Signal::try_from(text.parse::<i32>().ok()?).ok();
    }
    let name = text.to_ascii_uppercase();
    format!("SIG{}", name.strip_prefix("SIG").unwrap_or(&name)).parse().ok()
}

/// The name as users and the default of the option write it, without `SIG`.
impl fmt::Display for DrainSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_str();
        f.write_str(name.strip_prefix("SIG").unwrap_or(name))
    }
}

impl ProbePath {
    /// The path itself.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromStr for ProbePath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if !text.starts_with('/') {
            return Err(ValueError::PathStart(text.to_owned()));
        }
        if let Some((at, found)) = (1..).zip(text.chars()).find(|(_, letter)| !letter.is_ascii_graphic()) {
            return Err(ValueError::PathByte { text: text.to_owned(), found, at });
        }
        if text.len() > LONGEST_PATH {
            return Err(ValueError::PathLength(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProbePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
