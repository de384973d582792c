//! Where to connect.

use super::Argument as A;
use super::{Given, Shape, Short, bracketed, fields, short};
use crate::net::endpoint::error::Fault;
use crate::net::endpoint::lexer::{self, Field};
use crate::net::endpoint::problem::{CONNECT, Problem};
use crate::net::endpoint::value;
use crate::net::endpoint::{ClientTls, Connect, Family, Host, HostPort, Peer, UnixAddress};

/// What every kind takes by name.
macro_rules! and_common {
    ($($argument:expr),* $(,)?) => {
        &[$($argument,)* A::Proxy, A::Timeout, A::IdleTimeout, A::HalfClosedTimeout]
    };
}

const TCP: Shape = Shape {
    form: "tcp:HOST:PORT[:bindAddress=ADDRESS][:prefer=4|6][:timeout=TIME][:proxy=v1|v2]",
    places: &[A::Host, A::Port],
    named: and_common![A::BindAddress, A::Prefer],
};

const SSL: Shape = Shape {
    form: "ssl:HOST:PORT[:hostname=NAME][:caCertsDir=DIR][:certKey=FILE][:privateKey=FILE][:alpn=NAMES]",
    places: &[A::Host, A::Port],
    named: and_common![A::BindAddress, A::Prefer, A::Hostname, A::CaCertsDir, A::CertKey, A::PrivateKey, A::Alpn],
};

const TLS: Shape = Shape {
    form: "tls:HOST:PORT[:hostname=NAME][:trustRoots=DIR][:certificate=FILE][:privateKey=FILE][:alpn=NAMES] or tls:HOST:endpoint=CONNECT",
    places: &[A::Host, A::Port, A::Timeout, A::BindAddress, A::Certificate, A::PrivateKey, A::TrustRoots, A::Endpoint],
    named: and_common![A::Prefer, A::Hostname, A::Alpn],
};

const UNIX: Shape = Shape {
    form: "unix:PATH, with any ':' or '=' of the path escaped by a backslash",
    places: &[A::Path],
    named: and_common![A::Lockfile],
};

/// Any place to connect to.
pub(in super::super) fn connect(text: &str) -> Result<Connect, Fault> {
    if text.is_empty() {
        return Err(Fault { offset: 0, problem: Problem::Empty { forms: CONNECT } });
    }
    if let Some((host, port, offset)) = bracketed(text)? {
        return Ok(short_tcp(host, short_port(port, offset)?));
    }
    let (kind, mut arguments) = fields(text, CONNECT)?;
    let given = |shape, arguments| assign(shape, text, arguments);
    match kind.value.to_ascii_lowercase().as_str() {
        "tcp" => {
            let given = given(&TCP, &arguments)?;
            common(&given, Peer::Tcp(host_port(&given)?).into())
        }
        "ssl" => ssl(&given(&SSL, &arguments)?),
        "tls" => tls(&given(&TLS, &arguments)?),
        "unix" => unix(&given(&UNIX, &arguments)?),
        // As if `unix:` stood before it.
        word if word.starts_with('@') => {
            arguments.insert(0, kind);
            unix(&given(&UNIX, &arguments)?)
        }
        _ => match short(&kind, &arguments, "this host", CONNECT)? {
            Short::HostPort(host, port) => Ok(short_tcp(host, short_port(&port.value, port.value_offset)?)),
            Short::Port(port) if port.value.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(short_tcp(Host::Name("localhost".to_owned()), short_port(&port.value, port.value_offset)?))
            }
            Short::Port(_) => {
                let problem = Problem::Missing { argument: "port", form: "HOST:PORT, or another form" };
                Err(Fault { offset: text.len(), problem })
            }
        },
    }
}

fn short_port(text: &str, offset: usize) -> Result<u16, Fault> {
    let port = value::port_digits(text).filter(|port| *port > 0);
    port.ok_or(Fault { offset, problem: Problem::DestinationPort })
}

fn short_tcp(host: Host, port: u16) -> Connect {
    Peer::Tcp(HostPort { host, port, bind_address: None, prefer: None }).into()
}

fn host_port(given: &Given<'_>) -> Result<HostPort, Fault> {
    // Before the host is looked at: of `tcp:80` it is the port that is missing.
    let port = given.required(A::Port, value::destination_port)?;
    let host = given.required(A::Host, |text| value::host(text).ok_or(Problem::Host))?;
    let bind_address = given.optional(A::BindAddress, value::bind_address)?;
    let prefer = given.optional(A::Prefer, value::family)?;
    let meet = |address| host.family().is_none_or(|family| family == Family::of(address));
    if !bind_address.is_none_or(meet) {
        return Err(given.fault(A::BindAddress, Problem::Families));
    }
    Ok(HostPort { host, port, bind_address, prefer })
}

fn ssl(given: &Given<'_>) -> Result<Connect, Fault> {
    let place = host_port(given)?;
    let tls = ClientTls { ca_certs_dir: given.optional(A::CaCertsDir, value::path)?, ..identity(given, A::CertKey)? };
    common(given, Connect { tls: Some(named(tls, &place.host)), ..Peer::Tcp(place).into() })
}

fn tls(given: &Given<'_>) -> Result<Connect, Fault> {
    let trusted = given.optional(A::TrustRoots, value::path)?;
    let mut tls = ClientTls { ca_certs_dir: trusted, ..identity(given, A::Certificate)? };
    let Some(inner) = through(given)? else {
        let place = host_port(given)?;
        return common(given, Connect { tls: Some(named(tls, &place.host)), ..Peer::Tcp(place).into() });
    };
    // The port is Twisted's to ask for, and of no use here.
    given.optional(A::Port, value::destination_port)?;
    let host = given.required(A::Host, |text| value::host(text).ok_or(Problem::Host))?;
    tls.hostname.get_or_insert_with(|| host.to_string());
    // How to get there is for the inner endpoint to say.
    for argument in [A::BindAddress, A::Prefer] {
        if given.field(argument).is_some() {
            return Err(given.fault(argument, Problem::InnerSays { argument: argument.word() }));
        }
    }
    if let Peer::Tcp(place) = &inner.place {
        tls = named(tls, &place.host);
    }
    common(given, Connect { tls: Some(tls), ..inner })
}

/// The endpoint that TLS is spoken over, if it is not that of the arguments.
fn through(given: &Given<'_>) -> Result<Option<Connect>, Fault> {
    let Some(field) = given.field(A::Endpoint) else { return Ok(None) };
    let inner = connect(&field.value).map_err(|fault| {
        let escaped = &given.text[field.value_offset..];
        Fault { offset: field.value_offset + lexer::escaped_len(escaped, fault.offset), ..fault }
    })?;
    if inner.tls.is_some() { Err(given.fault(A::Endpoint, Problem::TlsTwice)) } else { Ok(Some(inner)) }
}

/// Who we are; what else there is to say of TLS is left to its default.
fn identity(given: &Given<'_>, certificate: A) -> Result<ClientTls, Fault> {
    let cert_key = given.optional(certificate, value::path)?;
    let private_key = given.optional(A::PrivateKey, value::path)?;
    if cert_key.is_none() && private_key.is_some() {
        return Err(given.fault(A::PrivateKey, Problem::KeyAlone { argument: certificate.word() }));
    }
    let read_name = |text: &str| value::host(text).map(|host| host.to_string()).ok_or(Problem::Host);
    Ok(ClientTls {
        hostname: given.optional(A::Hostname, read_name)?,
        ca_certs_dir: None,
        cert_key,
        private_key,
        alpn: given.optional(A::Alpn, value::alpn)?.unwrap_or_default(),
    })
}

/// A name that is the host's need not be said.
fn named(tls: ClientTls, host: &Host) -> ClientTls {
    ClientTls { hostname: tls.hostname.filter(|name| *name != host.to_string()), ..tls }
}

fn unix(given: &Given<'_>) -> Result<Connect, Fault> {
    let address = given.required(A::Path, value::unix_address)?;
    let (UnixAddress::Path(name) | UnixAddress::Abstract(name)) = &address;
    if name.is_empty() {
        return Err(given.missing(A::Path));
    }
    given.optional(A::Lockfile, |text| if text == "0" { Ok(()) } else { Err(Problem::NoLock) })?;
    common(given, Peer::Unix(address).into())
}

/// What every kind takes; what is said here wins over what an inner endpoint says.
fn common(given: &Given<'_>, connect: Connect) -> Result<Connect, Fault> {
    Ok(Connect {
        proxy: given.optional(A::Proxy, value::proxy_version)?.or(connect.proxy),
        timeout: given.optional(A::Timeout, value::timeout)?.or(connect.timeout),
        idle_timeout: given.optional(A::IdleTimeout, value::limit)?.or(connect.idle_timeout),
        half_closed_timeout: given.optional(A::HalfClosedTimeout, value::limit)?.or(connect.half_closed_timeout),
        ..connect
    })
}

/// What is given by its place wins over what is given by its name, as it does for Twisted's clients. One argument without
/// a name, beside a host that has one, is the next.
fn assign<'a>(shape: &'static Shape, text: &'a str, fields: &'a [Field]) -> Result<Given<'a>, Fault> {
    let mut given = Given { shape, text, fields: Vec::new() };
    for field in fields {
        if let Some(key) = &field.key {
            let argument = given.named(field, key)?;
            given.put(argument, field);
        }
    }
    let positional: Vec<_> = fields.iter().filter(|field| field.key.is_none()).collect();
    let skipped = usize::from(positional.len() == 1 && given.field(A::Host).is_some());
    let mut places = shape.places.iter().skip(skipped);
    for field in positional {
        let argument = places.next().ok_or_else(|| given.too_many(field))?;
        given.put(*argument, field);
    }
    Ok(given)
}
