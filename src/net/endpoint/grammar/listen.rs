//! Where to listen.

use std::net::Ipv6Addr;

use super::Argument as A;
use super::{Given, Shape, Short, bracketed, fields, short};
use crate::net::endpoint::error::Fault;
use crate::net::endpoint::lexer::Field;
use crate::net::endpoint::problem::{LISTEN, PASSED, Problem};
use crate::net::endpoint::value;
use crate::net::endpoint::{Adopt, Interface, Listen, ServerFiles, Tcp, TlsListen, Udp, Unix, UnixAddress, Which};

const TCP: Shape =
    Shape { form: "tcp:PORT[:INTERFACE[:BACKLOG]]", places: &[A::Port, A::Interface, A::Backlog], named: &[] };

/// That tcp and tcp6 differ in their order is Twisted's doing.
const TCP6: Shape =
    Shape { form: "tcp6:PORT[:BACKLOG[:INTERFACE]]", places: &[A::Port, A::Backlog, A::Interface], named: &[] };

const SSL: Shape = Shape {
    form: "ssl:PORT:privateKey=FILE[:certKey=FILE][:extraCertChain=FILE][:clientCAs=FILE][:alpn=NAMES][:interface=HOST][:backlog=N]",
    places: &[
        A::Port,
        A::PrivateKey,
        A::CertKey,
        A::SslMethod,
        A::Interface,
        A::Backlog,
        A::ExtraCertChain,
        A::DhParameters,
    ],
    named: &[A::ClientCas, A::Alpn],
};

const UDP: Shape = Shape { form: "udp:PORT[:INTERFACE]", places: &[A::Port, A::Interface], named: &[] };

const UNIX: Shape = Shape {
    form: "unix:ADDRESS[:MODE[:BACKLOG]], with any ':' or '=' of the address escaped by a backslash",
    places: &[A::Address, A::Mode, A::Backlog, A::Lockfile],
    named: &[],
};

const SYSTEMD: Shape = Shape {
    form: "systemd:domain=DOMAIN:index=N or systemd:domain=DOMAIN:name=NAME",
    places: &[A::Domain, A::Index, A::Name],
    named: &[],
};

const DESCRIPTOR: Shape = Shape { form: "fd:N", places: &[A::Number], named: &[] };

/// Where Twisted has an endpoint from a plugin, the case of its letters does not matter.
const PREFIX: &str = "haproxy";

/// Any place to listen.
pub(in super::super) fn listen(text: &str) -> Result<Listen, Fault> {
    any(text, LISTEN, Prefixed::No)
}

/// A place to listen whose socket is passed on.
pub(in super::super) fn passed(text: &str) -> Result<Listen, Fault> {
    let listen = any(text, PASSED, Prefixed::No)?;
    let kind = match &listen {
        Listen::Tls(_) => "ssl",
        Listen::Proxied(_) => PREFIX,
        Listen::Tcp(_) | Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) => return Ok(listen),
    };
    Err(Fault { offset: 0, problem: Problem::NotPassed { kind, forms: PASSED } })
}

/// Whether the prefix was read already. It is looked at before what is behind it is read, so that of many prefixes no more
/// than one is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefixed {
    Yes,
    No,
}

fn any(text: &str, forms: &'static str, prefixed: Prefixed) -> Result<Listen, Fault> {
    if text.is_empty() {
        return Err(Fault { offset: 0, problem: Problem::Empty { forms } });
    }
    if let Some((host, port, offset)) = bracketed(text)? {
        let port = value::port_digits(port).ok_or(Fault { offset, problem: Problem::Port })?;
        return Ok(Listen::Tcp(Tcp { interface: host.into(), port, backlog: None }));
    }
    // Behind the prefix a short form may stand, which only the text itself can tell.
    if let Some((prefix, rest)) = text.split_once(':').filter(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX)) {
        if prefixed == Prefixed::Yes {
            return Err(Fault { offset: 0, problem: Problem::ProxiedTwice });
        }
        let offset = prefix.len() + 1;
        let behind = any(rest, forms, Prefixed::Yes).and_then(|inner| proxied(inner, 0));
        return behind.map_err(|fault| Fault { offset: fault.offset + offset, ..fault });
    }
    let (kind, arguments) = fields(text, forms)?;
    of_kind(text, &kind, arguments, forms, prefixed)
}

fn of_kind(
    text: &str,
    kind: &Field,
    mut arguments: Vec<Field>,
    forms: &'static str,
    prefixed: Prefixed,
) -> Result<Listen, Fault> {
    let given = |shape, arguments| assign(shape, text, arguments);
    match kind.value.as_str() {
        "tcp" => Ok(Listen::Tcp(tcp(&given(&TCP, &arguments)?)?)),
        "ssl" => ssl(&given(&SSL, &arguments)?),
        "unix" => unix(&given(&UNIX, &arguments)?),
        "udp" => udp(&given(&UDP, &arguments)?),
        "fd" => descriptor(&given(&DESCRIPTOR, &arguments)?),
        word if word.eq_ignore_ascii_case("tcp6") => tcp6(&given(&TCP6, &arguments)?),
        word if word.eq_ignore_ascii_case("systemd") => systemd(&given(&SYSTEMD, &arguments)?),
        word if word.eq_ignore_ascii_case(PREFIX) && prefixed == Prefixed::Yes => {
            Err(Fault { offset: kind.offset, problem: Problem::ProxiedTwice })
        }
        word if word.eq_ignore_ascii_case(PREFIX) => {
            let missing = Fault { offset: text.len(), problem: Problem::NoKind { forms } };
            let first = arguments.iter().position(|field| field.key.is_none()).ok_or(missing)?;
            let kind = arguments.remove(first);
            proxied(of_kind(text, &kind, arguments, forms, Prefixed::Yes)?, kind.offset)
        }
        // As if `unix:` stood before it.
        word if word.starts_with('@') => {
            arguments.insert(0, Field { key: None, value: word.to_owned(), ..*kind });
            unix(&given(&UNIX, &arguments)?)
        }
        _ => {
            let (interface, field) = match short(kind, &arguments, "all addresses", forms)? {
                Short::Port(port) => (Interface::All, port),
                Short::HostPort(host, port) => (host.into(), port),
            };
            let fault = Fault { offset: field.value_offset, problem: Problem::Port };
            let port = value::port_digits(&field.value).ok_or(fault)?;
            Ok(Listen::Tcp(Tcp { interface, port, backlog: None }))
        }
    }
}

fn proxied(inner: Listen, offset: usize) -> Result<Listen, Fault> {
    let fault = |problem| Err(Fault { offset, problem });
    match inner {
        Listen::Udp(_) => fault(Problem::ProxiedDatagrams),
        Listen::Proxied(_) => fault(Problem::ProxiedTwice),
        Listen::Tcp(_) | Listen::Tls(_) | Listen::Unix(_) | Listen::Adopt(_) => Ok(Listen::Proxied(Box::new(inner))),
    }
}

/// The empty text is the default of the argument, so it may also be written.
fn interface(text: &str) -> Result<Interface, Problem> {
    if text.is_empty() { Ok(Interface::All) } else { value::host(text).map(Interface::from).ok_or(Problem::Host) }
}

fn tcp(given: &Given<'_>) -> Result<Tcp, Fault> {
    Ok(Tcp {
        port: given.required(A::Port, value::port)?,
        interface: given.optional(A::Interface, interface)?.unwrap_or(Interface::All),
        backlog: given.optional(A::Backlog, value::backlog)?,
    })
}

fn tcp6(given: &Given<'_>) -> Result<Listen, Fault> {
    let interface6 = |text: &str| value::v6(text).map(Interface::from).ok_or(Problem::Interface6);
    let unspecified = Interface::V6 { address: Ipv6Addr::UNSPECIFIED, zone: None };
    Ok(Listen::Tcp(Tcp {
        port: given.required(A::Port, value::port)?,
        backlog: given.optional(A::Backlog, value::backlog)?,
        interface: given.optional(A::Interface, interface6)?.unwrap_or(unspecified),
    }))
}

fn ssl(given: &Given<'_>) -> Result<Listen, Fault> {
    let tcp = tcp(given)?;
    let private_key = given.optional(A::PrivateKey, value::path)?.unwrap_or_else(|| "server.pem".to_owned());
    let files = ServerFiles {
        private_key,
        cert_key: given.optional(A::CertKey, value::path)?,
        extra_cert_chain: given.optional(A::ExtraCertChain, value::path)?,
        client_cas: given.optional(A::ClientCas, value::path)?,
        alpn: given.optional(A::Alpn, value::alpn)?.unwrap_or_default(),
    };
    given.optional(A::SslMethod, value::ssl_method)?;
    given.optional(A::DhParameters, |_| Err::<(), _>(Problem::DhParameters))?;
    Ok(Listen::Tls(Box::new(TlsListen { tcp, files })))
}

fn udp(given: &Given<'_>) -> Result<Listen, Fault> {
    Ok(Listen::Udp(Udp {
        port: given.required(A::Port, value::port)?,
        interface: given.optional(A::Interface, interface)?.unwrap_or(Interface::All),
    }))
}

fn unix(given: &Given<'_>) -> Result<Listen, Fault> {
    let address = given.required(A::Address, value::unix_address)?;
    let (UnixAddress::Path(name) | UnixAddress::Abstract(name)) = &address;
    if name.is_empty() {
        return Err(given.missing(A::Address));
    }
    let mode = given.optional(A::Mode, |text| match address {
        UnixAddress::Path(_) => value::mode(text),
        UnixAddress::Abstract(_) => Err(Problem::AbstractMode),
    })?;
    let backlog = given.optional(A::Backlog, value::backlog)?;
    given.optional(A::Lockfile, |_| Err::<(), _>(Problem::Lockfile))?;
    Ok(Listen::Unix(Unix { address, mode, backlog }))
}

fn systemd(given: &Given<'_>) -> Result<Listen, Fault> {
    let domain = given.required(A::Domain, value::domain)?;
    let index = given.optional(A::Index, value::index)?;
    let name = given.optional(A::Name, value::passed_name)?;
    let which = match (index, name) {
        (Some(index), None) => Which::Index(index),
        (None, Some(name)) => Which::Name(name),
        (Some(_), Some(_)) | (None, None) => {
            let offset = given.field(A::Name).map_or(given.text.len(), |field| field.offset);
            return Err(Fault { offset, problem: Problem::IndexOrName { form: given.shape.form } });
        }
    };
    Ok(Listen::Adopt(Adopt::Systemd { domain, which }))
}

fn descriptor(given: &Given<'_>) -> Result<Listen, Fault> {
    Ok(Listen::Adopt(Adopt::Descriptor(given.required(A::Number, value::descriptor)?)))
}

/// What is given by its place cannot be given by its name as well.
fn assign<'a>(shape: &'static Shape, text: &'a str, fields: &'a [Field]) -> Result<Given<'a>, Fault> {
    let mut given = Given { shape, text, fields: Vec::new() };
    let mut places = shape.places.iter();
    for field in fields.iter().filter(|field| field.key.is_none()) {
        let argument = places.next().ok_or_else(|| given.too_many(field))?;
        given.put(*argument, field);
    }
    for field in fields {
        let Some(key) = &field.key else { continue };
        let argument = given.named(field, key)?;
        if given.field(argument).is_some_and(|earlier| earlier.key.is_none()) {
            // `interface=::1` is an empty interface and two places more.
            let problem = match argument {
                A::Interface => Problem::TwiceOrColons,
                _ => Problem::Twice { argument: argument.word(), form: shape.form },
            };
            return Err(Fault { offset: field.offset, problem });
        }
        given.put(argument, field);
    }
    Ok(given)
}
