//! What is said to browsers: the messages of LiveReload's protocol 7, which browser extensions and its script speak.
//!
//! Pure: text in, text out.

use crate::dev::gate::{Change, Generation};
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// The port that extensions ask.
pub const PORT: u16 = 35729;
/// The protocol, by the name that it has for itself.
const PROTOCOL: &str = "http://livereload.com/protocols/official-7";
/// A longer message of a client is not read: what we want to know of it is short.
pub const LONGEST: usize = 64 * 1024;

/// Stands for all style sheets: it is like none, and clients then exchange all.
const ALL_STYLES: &str = "*.css";

/// What a browser shows: a page of this generation, or the one that says that it has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The generation.
    pub generation: Generation,
    /// It answers.
    pub up: bool,
}

impl Build {
    /// As text, by which a page knows whether it shows what it would get now. `token`: this process and no other.
    pub fn id(self, token: &str) -> String {
        let Build { generation, up } = self;
        format!("{token}-{}{}", generation.0, if up { "" } else { "-failed" })
    }
}

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

/// Our first message. `build`: what the client would get now, if anything was there yet.
pub fn hello(build: Option<&str>) -> String {
    let mut message = json!({"command": "hello", "protocols": [PROTOCOL], "serverName": "socket-protector"});
    if let Some(build) = build {
        message["build"] = build.into();
    }
    message.to_string()
}

/// Something is to be loaded anew, from `build`. A style sheet is exchanged within the page, by its path as a browser asks
/// for it; of several there is one message all the same.
pub fn reload(change: Change, paths: &[String], build: &str) -> String {
    let path = match (change, paths) {
        (Change::Files, _) => "/",
        (Change::Styles, [path]) => path,
        (Change::Styles, _) => ALL_STYLES,
    };
    json!({"command": "reload", "path": path, "liveCSS": true, "build": build}).to_string()
}

/// A change has come to nothing; what the browser shows stays.
pub fn alert(message: &str) -> String {
    json!({"command": "alert", "message": message}).to_string()
}
