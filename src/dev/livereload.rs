//! What is said to browsers: the messages of LiveReload's protocol 7, which browser extensions and its script speak.
//!
//! Pure: text in, text out.

use crate::dev::gate::Change;
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// The port that extensions ask.
pub const PORT: u16 = 35729;
/// The protocol, by the name that it has for itself.
const PROTOCOL: &str = "http://livereload.com/protocols/official-7";
/// A longer message of a client is not read: what we want to know of it is short.
pub const LONGEST: usize = 64 * 1024;

/// What a client has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It knows our protocol and wants to be told.
    Hello,
    /// It knows only others.
    OtherProtocol,
    /// Something that changes nothing.
    Else,
}

/// Understands a message of a client.
///
/// A client that names no protocols is taken for one of ours: some hand-written ones say no more than `hello`.
pub fn read(message: &str) -> Said {
    let Ok(message) = serde_json::from_str::<Value>(message) else { return Said::Else };
    match (message["command"].as_str(), message["protocols"].as_array()) {
        (Some("hello"), Some(protocols)) if protocols.iter().any(|protocol| *protocol == PROTOCOL) => Said::Hello,
        (Some("hello"), Some(_)) => Said::OtherProtocol,
        (Some("hello"), None) => Said::Hello,
        (Some(_) | None, _) => Said::Else,
    }
}

/// Our first message.
pub fn hello() -> String {
    json!({"command": "hello", "protocols": [PROTOCOL], "serverName": "socket-protector"}).to_string()
}

/// Something is to be loaded anew. Style sheets are exchanged within the page, by their path as a browser asks for it.
pub fn reload(change: Change, styles: &[String]) -> Vec<String> {
    let page = || json!({"command": "reload", "path": "/", "liveCSS": true}).to_string();
    match change {
        Change::Files => vec![page()],
        Change::Styles if styles.is_empty() => vec![page()],
        Change::Styles => {
            let message = |path| json!({"command": "reload", "path": path, "liveCSS": true}).to_string();
            styles.iter().map(message).collect()
        }
    }
}

/// A change has come to nothing; what the browser shows stays.
pub fn alert(message: &str) -> String {
    json!({"command": "alert", "message": message}).to_string()
}
