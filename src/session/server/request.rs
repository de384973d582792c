//! What a server of sessions can be asked on its control socket.

use serde::{Deserialize, Serialize};

/// One line each.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How it is: all sessions.
    Status,
    /// End a session.
    Close {
        /// Its id, or the first letters of it.
        id: String,
    },
    /// Send away whoever is attached to a session.
    Detach {
        /// Its id, or the first letters of it.
        id: String,
    },
    /// Let clients have what there is, and end; the answer comes when all is done.
    Drain,
    /// The same, as other roles call it.
    Stop,
    /// A new generation, as of a supervisor. A server has none.
    Reload {
        /// The command that it would run.
        #[serde(default)]
        command: Option<Vec<String>>,
    },
    /// Let the installed program take over; the answer comes when it serves or has failed.
    Upgrade,
}

/// An upgrade was done.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Upgraded {
    /// The process that serves now.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How long it took from the request.
    pub milliseconds: u64,
}

/// What was done.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Done {
    /// The session, by the first letters of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Request;

    #[test]
    fn requests_are_read_as_they_are_documented() {
        let read = |text: &str| serde_json::from_str::<Request>(text).ok();
        assert_eq!(read(r#"{"request":"status"}"#), Some(Request::Status));
        assert_eq!(read(r#"{"request":"close","id":"1d1d1d1d"}"#), Some(Request::Close { id: "1d1d1d1d".into() }));
        assert_eq!(read(r#"{"request":"detach","id":"1d"}"#), Some(Request::Detach { id: "1d".into() }));
        assert_eq!(read(r#"{"request":"drain"}"#), Some(Request::Drain));
        assert_eq!(read(r#"{"request":"stop"}"#), Some(Request::Stop));
        assert_eq!(read(r#"{"request":"upgrade"}"#), Some(Request::Upgrade));
        assert_eq!(read(r#"{"request":"reload"}"#), Some(Request::Reload { command: None }));
        for bad in ["", "{}", r#"{"request":"close"}"#, r#"{"request":"close","id":7}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
