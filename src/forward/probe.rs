//! What trying a destination means, and doing it: on a thread of its own, since it may look up names and wait.

mod run;

pub(super) use run::run;

use std::fmt::{self, Write};
use std::str::FromStr;

/// How a destination is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection can be made, with TLS where the destination is reached by it.
    Connect,
    /// The same, and what is there speaks TLS with a valid certificate.
    Tls,
    /// The same as to connect, and it says what it should.
    Talk {
        /// What is sent first; may be empty.
        send: Vec<u8>,
        /// What its answer must contain; may be empty.
        expect: Vec<u8>,
    },
}

/// A text that is no way of trying a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It is none of the forms.
    #[error("not a probe: '{}'; expected connect, tls, or send:TEXT,expect:TEXT", .0.escape_debug())]
    Form(String),
    /// A backslash that escapes nothing.
    #[error("not a probe: '{}'; a backslash stands before r, n, t, a backslash, a comma or xNN", .0.escape_debug())]
    Escape(String),
}

impl FromStr for Probe {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        match text {
            "connect" => return Ok(Probe::Connect),
            "tls" => return Ok(Probe::Tls),
            _ => {}
        }
        let form = || ProbeError::Form(text.to_owned());
        let (mut send, mut expect) = (None, None);
        for part in split(text) {
            let (place, written) = match (part.strip_prefix("send:"), part.strip_prefix("expect:")) {
                (Some(written), _) => (&mut send, written),
                (None, Some(written)) => (&mut expect, written),
                (None, None) => return Err(form()),
            };
            let bytes = unescape(written).ok_or_else(|| ProbeError::Escape(text.to_owned()))?;
            if bytes.is_empty() || place.replace(bytes).is_some() {
                return Err(form());
            }
        }
        Ok(Probe::Talk { send: send.unwrap_or_default(), expect: expect.unwrap_or_default() })
    }
}

/// At the commas that no backslash stands before.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        if letter == ',' && !escaped {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        escaped = letter == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match letters.next()? {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '\\' => b'\\',
            ',' => b',',
            'x' => {
                let (high, low) = (letters.next()?.to_digit(16)?, letters.next()?.to_digit(16)?);
                u8::try_from(high * 16 + low).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// As it is read.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (send, expect) = match self {
            Probe::Connect => return f.write_str("connect"),
            Probe::Tls => return f.write_str("tls"),
            Probe::Talk { send, expect } => (send, expect),
        };
        let mut parts = [("send:", send), ("expect:", expect)].into_iter().filter(|(_, bytes)| !bytes.is_empty());
        if let Some((word, bytes)) = parts.next() {
            write!(f, "{word}{}", Escaped(bytes))?;
        }
        parts.try_for_each(|(word, bytes)| write!(f, ",{word}{}", Escaped(bytes)))
    }
}

struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            b'\r' => f.write_str("\\r"),
            b'\n' => f.write_str("\\n"),
            b'\t' => f.write_str("\\t"),
            b'\\' => f.write_str("\\\\"),
            b',' => f.write_str("\\,"),
            b' '..=b'~' => f.write_char(char::from(*byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Probe;

    #[test]
    fn probes_are_read_and_written_the_same() {
        for text in
            ["connect", "tls", "send:PING\\r\\n,expect:+PONG", "expect:SSH-2.0", "send:\\x00\\,\\\\,expect:a:b,"]
        {
            let Ok(probe) = text.parse::<Probe>() else {
                assert!(text.ends_with(','), "{text}");
                continue;
            };
            assert_eq!(probe.to_string(), text);
        }
        let probe = "send:a\\,b\\x41é,expect:\\t".parse::<Probe>().unwrap();
        assert_eq!(probe, Probe::Talk { send: "a,bAé".into(), expect: b"\t".to_vec() });
        assert_eq!(probe.to_string().parse::<Probe>().unwrap(), probe);
    }

    #[test]
    fn what_is_no_probe_is_refused() {
        for bad in
            ["", "dance", "send:", "send:a,send:b", "expect", "send:a,connect", "send:\\q", "send:\\", "send:\\x4"]
        {
            let error = bad.parse::<Probe>().unwrap_err().to_string();
            assert!(error.starts_with("not a probe: '"), "{error}");
        }
    }
}
