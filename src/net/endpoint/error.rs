//! What can be wrong with the text of an endpoint, and how a user is told.

use std::fmt::{self, Write as _};

use thiserror::Error;

/// A text that is no endpoint: what is wrong with it, where, and what was expected instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not an endpoint: '{}': {problem}, at character {}", Printable(text), self.character())]
pub struct ParseError {
    text: String,
    /// In bytes, from 0.
    offset: usize,
    problem: Problem,
}

impl ParseError {
    pub(super) fn new(text: &str, Fault { offset, problem }: Fault) -> Self {
        Self { text: text.to_owned(), offset, problem }
    }

    /// The position as people count: characters, from 1.
    fn character(&self) -> usize {
        self.text.char_indices().take_while(|(offset, _)| *offset < self.offset).count() + 1
    }
}

/// A problem and the byte it was found at, before the whole text is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) problem: Problem,
}

/// The ways in which a text fails to be an endpoint, each with the form that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("the text is empty; expected {FORMS}")]
    Empty,
    #[error("unknown kind of endpoint '{}'; expected {FORMS}", Printable(kind))]
    UnknownKind { kind: String },
    #[error("the kind of endpoint is missing; expected {FORMS}")]
    NoKind,
    #[error("a port is a number from 0 to 65535")]
    Port,
    #[error("a backlog is a number from 0 to 2147483647")]
    Backlog,
    #[error("a host is a name, an IPv4 address or an IPv6 address")]
    Host,
    #[error("the host is missing; expected HOST:PORT, or PORT alone for all addresses")]
    NoHost,
    #[error("the interface of tcp6 is an IPv6 address with its colons escaped, as in {}", r"interface=\:\:1")]
    Interface6,
    #[error("an IPv6 address stands in brackets; expected [ADDRESS]:PORT")]
    Unbracketed,
    #[error("expected [ADDRESS]:PORT with an IPv6 address in the brackets")]
    Bracketed,
    #[error("the {argument} is missing; expected {form}")]
    Missing { argument: &'static str, form: &'static str },
    #[error("one argument too many; expected {form}")]
    TooMany { form: &'static str },
    #[error("unknown argument '{}'; expected {form}", Printable(argument))]
    UnknownArgument { argument: String, form: &'static str },
    #[error("the {argument} is given twice, by its place and by its name; expected {form}")]
    Twice { argument: &'static str, form: &'static str },
    #[error("the interface is given twice, or its colons are not escaped; expected {}", r"interface=\:\:1")]
    TwiceOrColons,
    #[error(r"a backslash escapes the character behind it; expected \\, \: or \=")]
    LoneBackslash,
    #[error(
        "the name of a unix socket is at most {} bytes long, and this one has {length}",
        super::value::UNIX_NAME_MAX
    )]
    LongUnixName { length: usize },
    #[error("the name of a unix socket has no NUL in it")]
    Nul,
    #[error("a mode is an octal number from 0 to 777")]
    Mode,
    #[error("an abstract name has no mode: it is no file")]
    AbstractMode,
    #[error("a lock file is not needed: a live socket is refused and a stale one replaced without it")]
    Lockfile,
    #[error("a domain is INET, INET6 or UNIX")]
    Domain,
    #[error("an index is a number from 0 to 2147483647")]
    Index,
    #[error("a name in LISTEN_FDNAMES is 1 to 255 characters, none of them a colon or a control character")]
    PassedName,
    #[error("either the index or the name of the socket is given; expected {form}")]
    IndexOrName { form: &'static str },
    #[error("a descriptor is a number from 0 to 2147483647")]
    Descriptor,
    #[error("the name of a listener is 1 to 64 letters, digits, '.', '_' or '-'; expected [NAME=]LISTEN")]
    Name,
}

const FORMS: &str = "PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, tcp6:…, unix:…, udp:…, systemd:… or fd:N";

/// Text of unknown origin, which must not reach a terminal as control characters.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if character.is_control() { write!(f, "{}", character.escape_default()) } else { f.write_char(character) }
        })
    }
}
