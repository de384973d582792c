//! What the options of `start` decide, in the terms of the relay and of the driver.

use super::store::SavedOptions;
use crate::net::proxy_protocol::{Network, NetworkError, Trust};
use crate::net::relay;
use crate::time::TimeOrNever;
use std::num::NonZeroUsize;
use std::time::Duration;

/// How long TERM leaves connections to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What holds for a forwarder from its start to its end.
#[derive(Debug)]
pub struct Settings {
    /// What holds for its connections.
    pub relay: relay::Settings,
    /// How long TERM leaves connections to finish.
    pub stop_timeout: Duration,
}

/// An option that cannot be kept to.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A network that is none.
    #[error("not a network: '{}'", .text.escape_debug())]
    Trust {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: NetworkError,
    },
    /// No time at all is not enough for anything.
    #[error("--{option} must be longer than nothing")]
    Zero {
        /// Which option.
        option: &'static str,
    },
}

impl Settings {
    /// What these options mean.
    ///
    /// # Errors
    /// A network that is none, or a time in which nothing can be done.
    pub fn of(options: &SavedOptions) -> Result<Self, SettingsError> {
        let mut relay = relay::Settings::default();
        if let Some(time) = options.connect_timeout {
            relay.connect_timeout = some(time.duration(), "connect-timeout")?;
        }
        if let Some(time) = options.proxy_header_timeout {
            relay.proxy_header_timeout = some(time.duration(), "proxy-header-timeout")?;
        }
        if let Some(time) = options.idle_timeout {
            relay.idle_timeout = limit(time, "idle-timeout")?;
        }
        if let Some(time) = options.half_closed_timeout {
            relay.half_closed_timeout = limit(time, "half-closed-timeout")?;
        }
        if let Some(threads) = options.threads.and_then(|threads| NonZeroUsize::new(threads.into())) {
            relay.threads = threads;
        }
        relay.most_connections = options.max_connections.and_then(|most| usize::try_from(most).ok());
        if !options.trust.is_empty() {
            let networks = options.trust.iter().map(|text| {
                text.parse::<Network>().map_err(|source| SettingsError::Trust { text: text.clone(), source })
            });
            relay.trust = Trust::only(networks.collect::<Result<_, _>>()?);
        }
        Ok(Settings { relay, stop_timeout: options.stop_timeout.map_or(STOP_TIMEOUT, |time| time.duration()) })
    }
}

fn some(time: Duration, option: &'static str) -> Result<Duration, SettingsError> {
    if time.is_zero() { Err(SettingsError::Zero { option }) } else { Ok(time) }
}

fn limit(time: TimeOrNever, option: &'static str) -> Result<Option<Duration>, SettingsError> {
    time.limit().map(|time| some(time, option)).transpose()
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use crate::forward::store::SavedOptions;
    use std::time::Duration;

    #[test]
    fn options_are_understood_or_refused() {
        let none = SavedOptions::default();
        let settings = Settings::of(&none).unwrap();
        assert_eq!(settings.stop_timeout, Duration::from_secs(30));
        assert_eq!(settings.relay.idle_timeout, None);
        let options = SavedOptions { idle_timeout: Some("2s".parse().unwrap()), threads: Some(3), ..none.clone() };
        let settings = Settings::of(&options).unwrap();
        assert_eq!((settings.relay.idle_timeout, settings.relay.threads.get()), (Some(Duration::from_secs(2)), 3));
        let bad = SavedOptions { trust: vec!["10.0.0.0/33".into()], ..none.clone() };
        assert!(crate::chain(&Settings::of(&bad).unwrap_err()).contains("'10.0.0.0/33': the prefix"));
        let bad = SavedOptions { connect_timeout: Some("0".parse().unwrap()), ..none };
        assert!(Settings::of(&bad).unwrap_err().to_string().contains("--connect-timeout"));
    }
}
