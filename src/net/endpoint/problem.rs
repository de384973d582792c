//! The ways in which a text fails to be an endpoint, in the words that users are told.

use std::fmt::{self, Write as _};

use thiserror::Error;

/// The ways in which a text fails to be an endpoint, each with the form that was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Problem {
    #[error("the text is empty; expected {forms}")]
    Empty { forms: &'static str },
    #[error("unknown kind of endpoint '{}'; expected {forms}", Printable(kind))]
    UnknownKind { kind: String, forms: &'static str },
    #[error("the kind of endpoint is missing; expected {forms}")]
    NoKind { forms: &'static str },
    #[error("an endpoint of kind '{kind}' is for 'forward', since no child can be given it; expected {forms}")]
    NotPassed { kind: &'static str, forms: &'static str },
    #[error("a port is a number from 0 to 65535")]
    Port,
    #[error("a backlog is a number from 0 to 2147483647")]
    Backlog,
    #[error("a host is a name, an IPv4 address or an IPv6 address")]
    Host,
    #[error("the host is missing; expected HOST:PORT, or PORT alone for {alone}")]
    NoHost { alone: &'static str },
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
    #[error("a port to connect to is a number from 1 to 65535")]
    DestinationPort,
    #[error(r"a bind address is an IPv4 address, or an IPv6 address with its colons escaped, as in bindAddress=\:\:1")]
    BindAddress,
    #[error("the bind address and the host are of different families")]
    Families,
    #[error("the family to prefer is 4 or 6")]
    Prefer,
    #[error("the version of the PROXY protocol is v1 or v2")]
    Proxy,
    #[error("a timeout is 250ms, 10s, 5m, 1h or a number of seconds, and more than 0")]
    Timeout,
    #[error("a timeout is 250ms, 10s, 5m, 1h or a number of seconds, and more than 0, or it is never")]
    Limit,
    #[error("a path is not empty and has no NUL in it")]
    Path,
    #[error("protocols are parted by commas and of 1 to 255 bytes each, as in alpn=h2,http/1.1")]
    Alpn,
    #[error("a private key goes with a certificate; expected {argument}=FILE as well")]
    KeyAlone { argument: &'static str },
    #[error("only TLS 1.3 and 1.2 are spoken, and the better one is chosen; expected TLS_METHOD or SSLv23_METHOD")]
    SslMethod,
    #[error("parameters for Diffie-Hellman are not needed: keys are agreed on by elliptic curves")]
    DhParameters,
    #[error("a lock file is not looked at: a socket that nobody listens to refuses by itself; expected lockfile=0")]
    NoLock,
    #[error("datagrams have no header of the PROXY protocol; expected an endpoint for connections behind haproxy:")]
    ProxiedDatagrams,
    #[error("the header of the PROXY protocol is expected twice; expected one haproxy:")]
    ProxiedTwice,
    #[error("the {argument} is for the inner endpoint to say; expected endpoint=tcp\\:HOST\\:PORT\\:{argument}\\=…")]
    InnerSays { argument: &'static str },
    #[error("TLS inside of TLS; expected a tcp or unix endpoint to speak TLS over")]
    TlsTwice,
    #[error("the name of a listener is 1 to 64 letters, digits, '.', '_' or '-'; expected [NAME=]LISTEN")]
    Name,
}

/// What others are given to accept from.
pub(super) const PASSED: &str =
    "PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, tcp6:…, unix:…, udp:…, systemd:… or fd:N";

/// What we can listen on.
pub(super) const LISTEN: &str =
    "PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, tcp6:…, ssl:…, unix:…, udp:…, systemd:…, fd:N or haproxy:…";

/// What we can connect to.
pub(super) const CONNECT: &str = "PORT, HOST:PORT, [ADDRESS]:PORT, @NAME, tcp:…, ssl:…, tls:… or unix:…";

/// Text of unknown origin, which must not reach a terminal as control characters.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if character.is_control() { write!(f, "{}", character.escape_default()) } else { f.write_char(character) }
        })
    }
}
