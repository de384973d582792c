//! What an instance is called, on the command line and in the run directory.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A name that is safe as part of a file's name: 1 to 64 ASCII letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(String);

/// Why a text is no name for an instance.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InstanceNameError {
    /// Too short, too long, or with other characters.
    #[error("not an instance name: '{}'; expected 1 to 64 letters, digits, '.', '_' or '-'", .0.escape_debug())]
    Malformed(String),
    /// The forwarder is found under this one.
    #[error("not an instance name: 'forward' is the forwarder's")]
    Forward,
    /// Taken by directories for themselves and their parents.
    #[error("not an instance name: '{0}' means a directory")]
    Directory(String),
}

impl InstanceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = InstanceNameError;

    fn from_str(text: &str) -> Result<Self, InstanceNameError> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match text {
            "forward" => Err(InstanceNameError::Forward),
            "." | ".." => Err(InstanceNameError::Directory(text.to_owned())),
            _ if matches!(text.len(), 1..=64) && text.bytes().all(is_part) => Ok(Self(text.to_owned())),
            _ => Err(InstanceNameError::Malformed(text.to_owned())),
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_are() {
        for text in ["4321", "web", "a.b_C-1", "...", "-", "Forward", "forward2", ".hidden", &"n".repeat(64)] {
            let name: InstanceName = text.parse().expect("a name");
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let refusal = |text: &str| text.parse::<InstanceName>().expect_err("no name").to_string();
        for text in ["", "a/b", "../x", "a b", "é", "a\0", "a\n", "a:b", "a=b", &"n".repeat(65)] {
            let expected = format!(
                "not an instance name: '{}'; expected 1 to 64 letters, digits, '.', '_' or '-'",
                text.escape_debug()
            );
            assert_eq!(refusal(text), expected);
        }
        assert_eq!(refusal("forward"), "not an instance name: 'forward' is the forwarder's");
        assert_eq!(refusal("."), "not an instance name: '.' means a directory");
        assert_eq!(refusal(".."), "not an instance name: '..' means a directory");
    }
}
