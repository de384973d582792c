//! What a client says to whoever runs it, on standard error.

use super::terminal::Terminal;
use std::io::{self, Write};

/// More of what was typed is not repeated.
const MOST: usize = 200;

/// Says things, or only what went wrong.
#[derive(Debug)]
pub(super) struct Voice {
    talks: bool,
}

impl Voice {
    pub(super) fn new(talks: bool) -> Voice {
        Voice { talks }
    }

    /// What happens.
    pub(super) fn note(&self, terminal: Option<&Terminal>, text: &str) {
        if self.talks {
            self.complain(terminal, text);
        }
    }

    /// What went wrong.
    pub(super) fn complain(&self, terminal: Option<&Terminal>, text: &str) {
        let (start, end) = if terminal.is_some_and(Terminal::is_raw) { ("\r\n", "\r\n") } else { ("", "\n") };
        // Nobody left to tell is no failure.
        let _ = write!(io::stderr(), "{start}socket-protector: {text}{end}");
    }
}

/// Input as text, as far as it may be shown: what the destination hid when it was typed may be a password.
pub(super) fn quoted(bytes: &[u8], hidden: bool) -> String {
    if hidden {
        return format!("{} bytes", bytes.len());
    }
    let text = format!("\"{}\"", String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).escape_debug());
    if bytes.len() > MOST { format!("{text} and {} bytes more", bytes.len() - MOST) } else { text }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn input_is_shown_unless_it_was_hidden() {
        assert_eq!(quoted(b"ls -l\r\n", false), r#""ls -l\r\n""#);
        assert_eq!(quoted(b"secret\r\n", true), "8 bytes");
        assert!(quoted(&[b'x'; 300], false).ends_with("\" and 100 bytes more"));
    }
}
