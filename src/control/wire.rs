//! What is said on a control socket.

use serde::{Deserialize, Serialize};

/// The longest request, in bytes: a command line of the length that Linux allows by default fits.
pub const LONGEST_LINE: usize = 4 * 1024 * 1024;
/// The longest answer, in bytes: the status of a hundred thousand sessions fits.
pub const LONGEST_ANSWER: u64 = 64 * 1024 * 1024;

/// What a supervisor can be asked. Other roles have words of their own; all of them know `status`.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How it is.
    Status,
    /// Start a new generation; the answer comes when it serves or has failed.
    Reload {
        /// The command that replaces the present one, should it become ready.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<Vec<String>>,
    },
    /// Drain and end; the answer comes when all is done.
    Stop,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub struct Reply {
    /// Whether what was asked has been done.
    pub ok: bool,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last lines that the child in question wrote to standard error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What could be done about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Reply {
    /// It has been done.
    pub fn done(result: serde_json::Value) -> Self {
        Reply { ok: true, result: Some(result), error: None, lines: Vec::new(), hint: None }
    }

    /// It has not been done.
    pub fn failed(error: impl Into<String>) -> Self {
        Reply { ok: false, result: None, error: Some(error.into()), lines: Vec::new(), hint: None }
    }
}

/// The answer to a reload that was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Switched {
    /// The generation that serves now.
    pub generation: u64,
    /// How long it took from the request.
    pub milliseconds: u64,
}

#[cfg(test)]
mod tests {
    use super::{Reply, Request};

    #[test]
    fn requests_are_read_as_they_are_documented() {
        let read = |text: &str| serde_json::from_str::<Request>(text).ok();
        assert_eq!(read(r#"{"request":"status"}"#), Some(Request::Status));
        assert_eq!(read(r#"{"request":"reload"}"#), Some(Request::Reload { command: None }));
        let command = Some(vec!["a".to_string(), "b c".to_string()]);
        assert_eq!(read(r#"{"request":"reload","command":["a","b c"]}"#), Some(Request::Reload { command }));
        assert_eq!(read(r#"{"request":"stop"}"#), Some(Request::Stop));
        for bad in ["", "{}", "[]", "7", r#"{"request":"dance"}"#, r#"{"request":"reload","command":"a"}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_reply_has_only_what_it_says() {
        let text = serde_json::to_string(&Reply::failed("no")).unwrap();
        assert_eq!(text, r#"{"ok":false,"error":"no"}"#);
    }
}
