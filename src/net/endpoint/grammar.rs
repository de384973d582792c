//! From the text of an endpoint to its value. Here is what both sides have in common: which field gives which argument.

mod connect;
mod listen;

pub(super) use connect::connect;
pub(super) use listen::{listen, passed};

use super::error::Fault;
use super::lexer::{self, Field, LoneBackslash};
use super::problem::Problem;
use super::{Host, value};

/// First words that mean a kind of endpoint, here or elsewhere. In no case of letters are they a host in `HOST:PORT`,
/// so that `ssl:443` is refused and not taken for a host called ssl.
const RESERVED: [&str; 10] = ["tcp", "tcp6", "ssl", "tls", "unix", "udp", "systemd", "haproxy", "fd", "stdio"];

/// Whether a word is one of those.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

/// What a kind of endpoint takes.
struct Shape {
    /// How it is written, for messages.
    form: &'static str,
    /// What the positional arguments mean; each may be given by its name as well.
    places: &'static [Argument],
    /// What is given by name alone.
    named: &'static [Argument],
}

/// What stands before the first equal sign of a field, or is meant by its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    Port,
    Interface,
    Backlog,
    Address,
    Mode,
    Lockfile,
    Domain,
    Index,
    Name,
    Number,
    PrivateKey,
    CertKey,
    SslMethod,
    ExtraCertChain,
    DhParameters,
    ClientCas,
    Alpn,
    Host,
    Path,
    Timeout,
    BindAddress,
    Hostname,
    CaCertsDir,
    Certificate,
    TrustRoots,
    Endpoint,
    Prefer,
    Proxy,
    IdleTimeout,
    HalfClosedTimeout,
}

impl Argument {
    const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Interface => "interface",
            Self::Backlog => "backlog",
            Self::Address => "address",
            Self::Mode => "mode",
            Self::Lockfile => "lockfile",
            Self::Domain => "domain",
            Self::Index => "index",
            Self::Name => "name",
            Self::Number => "number",
            Self::PrivateKey => "privateKey",
            Self::CertKey => "certKey",
            Self::SslMethod => "sslmethod",
            Self::ExtraCertChain => "extraCertChain",
            Self::DhParameters => "dhParameters",
            Self::ClientCas => "clientCAs",
            Self::Alpn => "alpn",
            Self::Host => "host",
            Self::Path => "path",
            Self::Timeout => "timeout",
            Self::BindAddress => "bindAddress",
            Self::Hostname => "hostname",
            Self::CaCertsDir => "caCertsDir",
            Self::Certificate => "certificate",
            Self::TrustRoots => "trustRoots",
            Self::Endpoint => "endpoint",
            Self::Prefer => "prefer",
            Self::Proxy => "proxy",
            Self::IdleTimeout => "idleTimeout",
            Self::HalfClosedTimeout => "halfClosedTimeout",
        }
    }
}

impl Shape {
    fn named(&self, word: &str) -> Option<Argument> {
        self.places.iter().chain(self.named).copied().find(|argument| argument.word() == word)
    }
}

/// The fields of a text, the first of which that has no key is the kind.
fn fields(text: &str, forms: &'static str) -> Result<(Field, Vec<Field>), Fault> {
    let mut fields =
        lexer::fields(text).map_err(|LoneBackslash(offset)| Fault { offset, problem: Problem::LoneBackslash })?;
    let first = fields.iter().position(|field| field.key.is_none());
    let first = first.ok_or(Fault { offset: 0, problem: Problem::NoKind { forms } })?;
    let kind = fields.remove(first);
    Ok((kind, fields))
}

/// A short form in which an IPv6 address stands, which colons would cut to pieces: the address and the text of its port,
/// with the byte that begins it.
fn bracketed(text: &str) -> Result<Option<(Host, &str, usize)>, Fault> {
    if value::is_unbracketed(text) {
        return Err(Fault { offset: 0, problem: Problem::Unbracketed });
    }
    let Some(rest) = text.strip_prefix('[') else { return Ok(None) };
    let fault = |offset| Fault { offset, problem: Problem::Bracketed };
    let (address, tail) = rest.split_once(']').ok_or_else(|| fault(0))?;
    let host = value::v6(address).ok_or_else(|| fault(1))?;
    let tail_offset = address.len() + 2;
    let port = tail.strip_prefix(':').ok_or_else(|| fault(tail_offset))?;
    Ok(Some((host, port, tail_offset + 1)))
}

/// What a short form says, after the form in brackets.
enum Short<'a> {
    /// `PORT`
    Port(&'a Field),
    /// `HOST:PORT`
    HostPort(Host, &'a Field),
}

/// `PORT` and `HOST:PORT`; `alone` says what is meant by a port alone.
fn short<'a>(
    first: &'a Field,
    rest: &'a [Field],
    alone: &'static str,
    forms: &'static str,
) -> Result<Short<'a>, Fault> {
    let fault = |problem| Fault { offset: first.offset, problem };
    let reserved = is_reserved(&first.value);
    match rest {
        [] if !reserved => Ok(Short::Port(first)),
        [_] if first.value.is_empty() => Err(fault(Problem::NoHost { alone })),
        [port @ Field { key: None, .. }] if !reserved => {
            // What is wrong with the port is said first: of `80:x` it is more likely the mistake.
            let host = value::host(&first.value).ok_or_else(|| fault(Problem::Host));
            host.map(|host| Short::HostPort(host, port))
        }
        _ => Err(fault(Problem::UnknownKind { kind: first.value.clone(), forms })),
    }
}

/// The arguments that a text gives to an endpoint.
struct Given<'a> {
    shape: &'static Shape,
    text: &'a str,
    fields: Vec<(Argument, &'a Field)>,
}

impl<'a> Given<'a> {
    fn field(&self, argument: Argument) -> Option<&'a Field> {
        self.fields.iter().find(|(known, _)| *known == argument).map(|(_, field)| *field)
    }

    fn fault(&self, argument: Argument, problem: Problem) -> Fault {
        Fault { offset: self.field(argument).map_or(self.text.len(), |field| field.value_offset), problem }
    }

    fn missing(&self, argument: Argument) -> Fault {
        self.fault(argument, Problem::Missing { argument: argument.word(), form: self.shape.form })
    }

    fn optional<T>(
        &self,
        argument: Argument,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Fault> {
        let field = self.field(argument);
        field.map(|field| read(&field.value).map_err(|problem| self.fault(argument, problem))).transpose()
    }

    fn required<T>(&self, argument: Argument, read: impl FnOnce(&str) -> Result<T, Problem>) -> Result<T, Fault> {
        self.optional(argument, read)?.ok_or_else(|| self.missing(argument))
    }

    /// Of one argument given several times by its name, the last one holds.
    fn put(&mut self, argument: Argument, field: &'a Field) {
        self.fields.retain(|(known, _)| *known != argument);
        self.fields.push((argument, field));
    }

    /// The argument that a field names.
    fn named(&self, field: &Field, key: &str) -> Result<Argument, Fault> {
        let unknown = Problem::UnknownArgument { argument: key.to_owned(), form: self.shape.form };
        self.shape.named(key).ok_or(Fault { offset: field.offset, problem: unknown })
    }

    fn too_many(&self, field: &Field) -> Fault {
        Fault { offset: field.offset, problem: Problem::TooMany { form: self.shape.form } }
    }
}
