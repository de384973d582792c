//! The values of options: times, counts, signals and paths. Each is read from its text and writes one that reads back the same.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;

/// The longest time, over a hundred years. A point in time this far ahead can still be computed; one that is
/// [`Duration::MAX`] ahead cannot.
const LONGEST: Duration = Duration::from_secs(LONGEST_HOURS * 3600);
const LONGEST_HOURS: u64 = 1_000_000;

/// The word for no limit.
const NEVER: &str = "never";

/// The longest path that a probe asks for, in bytes.
const LONGEST_PATH: usize = 1024;

/// The units with their nanoseconds, the longest first.
const UNITS: [(&str, u128); 4] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];

/// A length of time: `250ms`, `10s`, `5m`, `1h`, `1.5s`, or a plain number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Duration);

/// A length of time, or `never` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOrNever(Option<Duration>);

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

/// The path that a probe asks for: `/healthz`, `/ready?deep=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePath(String);

/// Why a text is no such value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// Not the form of a time.
    #[error("not a time: '{}'; expected 250ms, 10s, 5m, 1h or a number of seconds", .0.escape_debug())]
    Time(String),
    /// Not the form of a time, where `never` is allowed as well.
    #[error("not a time: '{}'; expected 250ms, 10s, 5m, 1h, a number of seconds or never", .0.escape_debug())]
    TimeOrNever(String),
    /// A time that nobody lives to see.
    #[error("too long a time: '{}'; expected at most {LONGEST_HOURS}h", .0.escape_debug())]
    TooLong(String),
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

impl Time {
    /// The time itself.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Time {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let nanoseconds = nanoseconds(text).ok_or_else(|| ValueError::Time(text.to_owned()))?;
        let time = u64::try_from(nanoseconds).map(Duration::from_nanos).ok().filter(|time| *time <= LONGEST);
        time.map(Self).ok_or_else(|| ValueError::TooLong(text.to_owned()))
    }
}

/// What the text says, `u128::MAX` if that is more; nothing below a nanosecond.
fn nanoseconds(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Between them is one point and no other, and each has a digit.
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = whole.parse().unwrap_or(u128::MAX).saturating_mul(unit);
    // So many digits reach below a nanosecond with any unit, and still fit.
    let fraction = &fraction[..fraction.len().min(18)];
    let divisor = fraction.bytes().fold(1, |divisor, _| divisor * 10);
    let fraction = fraction.parse::<u128>().ok()? * unit / divisor;
    Some(whole.saturating_add(fraction))
}

/// In the longest unit that takes it without a fraction, else in milliseconds.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        if nanoseconds == 0 {
            return f.write_str("0s");
        }
        match UNITS.into_iter().find(|(_, unit)| nanoseconds.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", nanoseconds / unit),
            None => {
                let fraction = format!("{:06}", nanoseconds % 1_000_000);
                write!(f, "{}.{}ms", nanoseconds / 1_000_000, fraction.trim_end_matches('0'))
            }
        }
    }
}

impl TimeOrNever {
    /// The time, or `None` for never.
    #[must_use]
    pub const fn limit(self) -> Option<Duration> {
        self.0
    }
}

impl FromStr for TimeOrNever {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == NEVER {
            return Ok(Self(None));
        }
        match text.parse::<Time>() {
            Ok(time) => Ok(Self(Some(time.duration()))),
            Err(ValueError::Time(text)) => Err(ValueError::TimeOrNever(text)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for TimeOrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => Time(time).fmt(f),
            None => f.write_str(NEVER),
        }
    }
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
        write!(f, "{}..{}", Time(self.min), Time(self.max))
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
