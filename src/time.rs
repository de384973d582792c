//! Lengths of time as text: `250ms`, `10s`, `5m`, `1h`, or a plain number of seconds. Each is read from its text and
//! writes one that reads back the same.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// The longest time, over a hundred years. A point in time this far ahead can still be computed; one that is
/// [`Duration::MAX`] ahead cannot.
const LONGEST: Duration = Duration::from_secs(LONGEST_HOURS * 3600);
const LONGEST_HOURS: u64 = 1_000_000;

/// The word for no limit.
const NEVER: &str = "never";

/// The units with their nanoseconds, the longest first.
const UNITS: [(&str, u128); 4] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];

/// A length of time, at most a million hours: `250ms`, `10s`, `5m`, `1h`, `1.5s`, or a plain number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(Duration);

/// A length of time, or `never` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeOrNever(Option<Duration>);

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Not the form of a time.
    #[error("not a time: '{}'; expected 250ms, 10s, 5m, 1h or a number of seconds", .0.escape_debug())]
    Time(String),
    /// Not the form of a time, where `never` is allowed as well.
    #[error("not a time: '{}'; expected 250ms, 10s, 5m, 1h, a number of seconds or never", .0.escape_debug())]
    TimeOrNever(String),
    /// A time that nobody lives to see.
    #[error("too long a time: '{}'; expected at most {LONGEST_HOURS}h", .0.escape_debug())]
    TooLong(String),
}

impl Time {
    /// As long as this; what is longer than the longest is the longest.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self(duration.min(LONGEST))
    }

    /// The time itself.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let nanoseconds = nanoseconds(text).ok_or_else(|| TimeError::Time(text.to_owned()))?;
        let time = u64::try_from(nanoseconds).map(Duration::from_nanos).ok().filter(|time| *time <= LONGEST);
        time.map(Self).ok_or_else(|| TimeError::TooLong(text.to_owned()))
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
    /// This limit, or with `None` never.
    #[must_use]
    pub fn of(limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| Time::of(limit).duration()))
    }

    /// The time, or `None` for never.
    #[must_use]
    pub const fn limit(self) -> Option<Duration> {
        self.0
    }
}

impl FromStr for TimeOrNever {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        if text == NEVER {
            return Ok(Self(None));
        }
        match text.parse::<Time>() {
            Ok(time) => Ok(Self(Some(time.duration()))),
            Err(TimeError::Time(text)) => Err(TimeError::TimeOrNever(text)),
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

#[cfg(test)]
mod tests;
