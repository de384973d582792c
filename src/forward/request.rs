//! What a forwarder can be asked on its control socket, and how it is shown.

use serde::{Deserialize, Serialize};

/// The version of the forms below.
pub const SCHEMA: u32 = 1;

/// What a forwarder can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How it is, as every instance is asked.
    Status,
    /// Its rules and destinations.
    List {
        /// Also how the bytes of each connection go.
        #[serde(default)]
        detail: bool,
    },
    /// A further rule; the answer comes when it accepts.
    Start {
        /// Where to listen.
        source: String,
        /// Where connections go.
        destination: String,
    },
    /// Another destination for new connections; the answer comes when that stands or has failed.
    Switch(Switch),
    /// Tell when nothing runs on a former destination.
    Wait {
        /// Of which rule; `None`: of any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// End a rule, or everything; the answer comes when that has ended.
    Stop {
        /// Which rule; `None`: everything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// Running connections may finish.
        #[serde(default)]
        drain: bool,
        /// Within this time, in milliseconds; `None`: without a limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit_ms: Option<u64>,
    },
    /// Hand everything to a new process; the answer comes when that serves or has failed.
    Restart,
    /// Let clients wait.
    Pause {
        /// Of which rule.
        source: String,
    },
    /// Let them go on.
    Resume {
        /// Of which rule.
        source: String,
    },
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Which rule.
    pub source: String,
    /// Where new connections go.
    pub destination: String,
    /// How the destination is tried first, as on the command line; `None`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// How long that may take, in milliseconds.
    #[serde(default = "probe_timeout_ms")]
    pub probe_timeout_ms: u64,
    /// For how long a failure undoes the switch, in milliseconds.
    #[serde(default)]
    pub guard_ms: u64,
    /// The share of new connections, in percent, from 1 to 100.
    #[serde(default = "all")]
    pub weight: u8,
    /// Whether the answer comes only when the switch stands or has failed.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn probe_timeout_ms() -> u64 {
    5000
}

fn all() -> u8 {
    100
}

fn yes() -> bool {
    true
}

/// What a change came to, besides having been made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// Where a rule listens whose port was left open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listening: Option<String>,
    /// What is not as it should be nevertheless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// How many connections were cut because their time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<usize>,
}

/// All rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/forward.md what they count")]
pub struct List {
    pub schema: u32,
    pub pid: i32,
    pub rules: Vec<ListedRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/forward.md what they count")]
pub struct ListedRule {
    pub source: String,
    pub address: String,
    pub paused: bool,
    pub draining: bool,
    pub parked: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<String>,
    pub destinations: Vec<ListedDestination>,
}

/// A destination that is not gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/forward.md what they count")]
pub struct ListedDestination {
    pub endpoint: String,
    pub status: String,
    pub connections: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub failures: u64,
    pub age_seconds: u64,
    pub total: u64,
    pub weight: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Paths>,
}

/// How many connections go which way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/forward.md what they count")]
pub struct Paths {
    pub setting_up: usize,
    pub copy: usize,
    pub splice: usize,
    pub tls: usize,
}

/// The forwarder as an instance among others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it, and docs/forward.md what they count")]
pub struct Status {
    pub schema: u32,
    pub role: String,
    pub name: String,
    pub pid: i32,
    pub version: String,
    pub uptime_seconds: u64,
    pub rules: Vec<ListedRule>,
}

#[cfg(test)]
mod tests {
    use super::{Request, Switch};

    #[test]
    fn requests_are_read_as_they_are_documented() {
        let read = |text: &str| serde_json::from_str::<Request>(text).ok();
        assert_eq!(read(r#"{"request":"status"}"#), Some(Request::Status));
        assert_eq!(read(r#"{"request":"list"}"#), Some(Request::List { detail: false }));
        assert_eq!(read(r#"{"request":"wait"}"#), Some(Request::Wait { source: None }));
        let stop = Request::Stop { source: None, drain: true, limit_ms: Some(5) };
        assert_eq!(read(r#"{"request":"stop","drain":true,"limit_ms":5}"#), Some(stop));
        let switch = Switch {
            source: "tcp:1".into(),
            destination: "tcp:h:2".into(),
            probe: None,
            probe_timeout_ms: 5000,
            guard_ms: 0,
            weight: 100,
            wait: true,
        };
        let text = r#"{"request":"switch","source":"tcp:1","destination":"tcp:h:2"}"#;
        assert_eq!(read(text), Some(Request::Switch(switch)));
        for bad in ["", "{}", "7", r#"{"request":"dance"}"#, r#"{"request":"pause"}"#, r#"{"request":"switch"}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
