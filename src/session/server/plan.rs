//! What a server tells the process that takes over, before and with all else.

use crate::takeover::{Exchange, ExchangeError};
use serde::{Deserialize, Serialize};

/// Changes with every change of the plan or of what goes with it, so that versions that do not understand each other part
/// before anything is handed over.
pub(super) const SCHEMA: u32 = 2;

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// [`SCHEMA`].
    pub(super) schema: u32,
    /// How many descriptors come behind it.
    pub(super) descriptors: usize,
    /// How many sessions come behind it, each by itself.
    pub(super) sessions: usize,
    /// How many clients.
    pub(super) clients: usize,
    /// The instance.
    pub(super) name: String,
    /// Where sessions lead.
    pub(super) destination: String,
    pub(super) listeners: Vec<PlannedListener>,
    /// The last number of a connection.
    pub(super) next: u64,
    pub(super) uptime_ms: u64,
    /// Since when somebody waits for the upgrade.
    pub(super) asked_ms: u64,
    /// The client of the control socket that does.
    pub(super) asker: Option<u64>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlannedListener {
    pub(super) endpoint: String,
    /// It speaks TLS.
    pub(super) tls: bool,
}

impl Plan {
    /// Hears one of this version.
    ///
    /// # Errors
    /// It is another one, or something else was said.
    pub(super) fn hear(exchange: &Exchange) -> Result<Plan, ExchangeError> {
        let value = exchange.hear::<serde_json::Value>()?;
        match value["schema"].as_u64() {
            Some(schema) if schema == u64::from(SCHEMA) => Ok(serde_json::from_value(value)?),
            schema => Err(ExchangeError::Version { theirs: schema.unwrap_or_default(), ours: SCHEMA }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, PlannedListener, SCHEMA};
    use crate::takeover::{Exchange, ExchangeError};
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn a_plan_is_heard_as_it_was_said_and_one_of_another_version_is_refused() {
        let plan = Plan {
            schema: SCHEMA,
            descriptors: 3,
            sessions: 2,
            clients: 1,
            name: "session-9009".into(),
            destination: "tcp:host=localhost:port=23".into(),
            listeners: vec![PlannedListener { endpoint: "tcp:9009:interface=127.0.0.1".into(), tls: false }],
            next: 7,
            uptime_ms: 8,
            asked_ms: 9,
            asker: Some(1),
        };
        let (one, mut other) = UnixStream::pair().unwrap();
        let exchange = Exchange::new(one, Duration::from_secs(10));
        writeln!(other, "{}", serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(Plan::hear(&exchange).unwrap(), plan);
        writeln!(other, "{{\"schema\":3,\"unheard\":\"of\"}}").unwrap();
        assert!(matches!(Plan::hear(&exchange), Err(ExchangeError::Version { theirs: 3, ours: SCHEMA })));
        writeln!(other, "{{\"schema\":2,\"unheard\":\"of\"}}").unwrap();
        assert!(matches!(Plan::hear(&exchange), Err(ExchangeError::Line(_))));
    }
}
