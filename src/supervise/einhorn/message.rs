//! einhorn's lines: what a worker may say, and the answer to whoever says anything else.
//!
//! A message is one line: JSON, or YAML whose newlines are written as `%0A` and whose percent signs as `%25`. Of YAML we
//! read what a mapping of plain words becomes when it is dumped, which is all that a worker has to say.

use serde_json::Value;

/// A longer line is none.
pub const LONGEST: usize = 4096;

/// What somebody said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A worker is ready.
    Acknowledge,
    /// A worker lives. einhorn makes no use of it either.
    Ping,
    /// Anything else, with the id that its answer is to carry.
    Other {
        /// The command.
        command: String,
        /// The id, as text that is JSON as well as YAML.
        id: Option<String>,
    },
    /// No message.
    Malformed,
}

/// Reads a line, without its end.
pub fn parse(line: &[u8]) -> Said {
    let Ok(line) = std::str::from_utf8(line) else {
        return Said::Malformed;
    };
    let text = line.replace("%0A", "\n").replace("%25", "%");
    let (command, id) = match serde_json::from_str::<Value>(&text) {
        Ok(message) => {
            let id = message.get("id").filter(|id| !id.is_null()).map(Value::to_string);
            (message.get("command").and_then(Value::as_str).map(str::to_owned), id)
        }
        Err(_) => (of_yaml(&text, "command"), of_yaml(&text, "id").map(|id| Value::from(id).to_string())),
    };
    match command.as_deref() {
        None => Said::Malformed,
        Some("worker:ack") => Said::Acknowledge,
        Some("worker:ping") => Said::Ping,
        Some(command) => Said::Other { command: command.to_owned(), id },
    }
}

/// The value of a key of the outermost mapping, as in `command: worker:ack`.
fn of_yaml(text: &str, wanted: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        // A symbol of Ruby's begins with a colon.
        (key.trim_start_matches(':') == wanted).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    })
}

/// The answer to a message, as a line of einhorn's.
pub fn answer(to: &Said) -> Option<Vec<u8>> {
    let (text, id) = match to {
        Said::Acknowledge | Said::Ping => return None,
        Said::Malformed => ("this is no message: JSON or YAML with a command is expected".to_owned(), &None),
        Said::Other { command, id } => {
            let text = format!("no such command: {command}; workers say worker:ack and worker:ping here");
            (text, id)
        }
    };
    let id = id.as_ref().map_or(String::new(), |id| format!("request_id: {id}\n"));
    let yaml = format!("---\nmessage: {}\n{id}", Value::from(text));
    Some(format!("{}\n", yaml.replace('%', "%25").replace('\n', "%0A")).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::{Said, answer, parse};

    #[test]
    fn workers_of_every_language_are_understood() {
        for line in [
            r#"{"command":"worker:ack","pid":123}"#,
            r#"{"pid":123, "command":"worker:ack"}"#,
            "---%0Acommand: worker:ack%0Apid: 123%0A",
            "---%0Apid: 123%0Acommand: \"worker:ack\"%0A",
            "---%0A:command: worker:ack%0A:pid: 123%0A",
            "command: 'worker:ack'",
        ] {
            assert_eq!(parse(line.as_bytes()), Said::Acknowledge, "{line}");
        }
        assert_eq!(parse(br#"{"command":"worker:ping","pid":1,"request_id":"a"}"#), Said::Ping);
    }

    #[test]
    fn what_is_no_message_is_told_from_what_is_no_command() {
        for line in ["", "worker:ack", "[]", "{}", "7", "{\"command\":7}", "---%0Apid: 1%0A", "  command: nested"] {
            assert_eq!(parse(line.as_bytes()), Said::Malformed, "{line}");
        }
        assert_eq!(parse(b"\xff\xfe"), Said::Malformed);
        let other = |command: &str, id: Option<&str>| Said::Other { command: command.into(), id: id.map(Into::into) };
        assert_eq!(parse(br#"{"command":"state"}"#), other("state", None));
        assert_eq!(parse(br#"{"command":"die","id":7}"#), other("die", Some("7")));
        assert_eq!(parse(b"---%0Acommand: die%0Aid: 7%0A"), other("die", Some("\"7\"")));
    }

    #[test]
    fn only_who_says_anything_else_is_answered_and_in_one_line() {
        assert_eq!(answer(&Said::Acknowledge), None);
        assert_eq!(answer(&Said::Ping), None);
        let other = Said::Other { command: "100%\nfoo".into(), id: Some("7".into()) };
        let text = String::from_utf8(answer(&other).unwrap()).unwrap();
        let expected = "---%0Amessage: \"no such command: 100%25\\nfoo; workers say worker:ack and worker:ping \
                        here\"%0Arequest_id: 7%0A\n";
        assert_eq!(text, expected);
        let text = String::from_utf8(answer(&Said::Malformed).unwrap()).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains("request_id"));
    }
}
