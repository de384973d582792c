//! From the text of an endpoint to its value: the short forms, and the arguments of each kind.

use std::net::Ipv6Addr;

use super::error::{Fault, Problem};
use super::lexer::{self, Field, LoneBackslash};
use super::{Interface, Listen};

/// First words that mean a kind of endpoint, here or elsewhere. In no case of letters are they a host in `HOST:PORT`,
/// so that `udp:53` is refused and not taken for a host called udp.
const RESERVED: [&str; 10] = ["tcp", "tcp6", "ssl", "tls", "unix", "udp", "systemd", "haproxy", "fd", "stdio"];

/// `listen(2)` takes a signed number.
const BACKLOG_MAX: u32 = i32::MAX.unsigned_abs();

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Tcp6,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    Port,
    Interface,
    Backlog,
}

impl Kind {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "tcp" => Some(Self::Tcp),
            "tcp6" => Some(Self::Tcp6),
            _ => None,
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Tcp => "tcp:PORT[:INTERFACE[:BACKLOG]]",
            Self::Tcp6 => "tcp6:PORT[:BACKLOG[:INTERFACE]]",
        }
    }

    /// What the positional arguments mean. That the two kinds differ is Twisted's doing.
    const fn order(self) -> [Argument; 3] {
        match self {
            Self::Tcp => [Argument::Port, Argument::Interface, Argument::Backlog],
            Self::Tcp6 => [Argument::Port, Argument::Backlog, Argument::Interface],
        }
    }

    const fn default_interface(self) -> Interface {
        match self {
            Self::Tcp => Interface::All,
            Self::Tcp6 => Interface::V6 { address: Ipv6Addr::UNSPECIFIED, zone: None },
        }
    }

    fn interface(self, text: &str) -> Result<Interface, Problem> {
        match self {
            // The empty text is the default of the argument, so it may also be written.
            Self::Tcp if text.is_empty() => Ok(Interface::All),
            Self::Tcp => host(text).ok_or(Problem::Host),
            Self::Tcp6 => v6(text).ok_or(Problem::Interface6),
        }
    }
}

impl Argument {
    const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Interface => "interface",
            Self::Backlog => "backlog",
        }
    }
}

pub(super) fn listen(text: &str) -> Result<Listen, Fault> {
    if text.is_empty() {
        return Err(Fault { offset: 0, problem: Problem::Empty });
    }
    if let Some(rest) = text.strip_prefix('[') {
        return bracketed(rest);
    }
    if is_unbracketed(text) {
        return Err(Fault { offset: 0, problem: Problem::Unbracketed });
    }
    let mut fields =
        lexer::fields(text).map_err(|LoneBackslash(offset)| Fault { offset, problem: Problem::LoneBackslash })?;
    let Some(first) = fields.iter().position(|field| field.key.is_none()) else {
        return Err(Fault { offset: 0, problem: Problem::NoKind });
    };
    let first = fields.remove(first);
    match Kind::from_word(&first.value) {
        Some(kind) => long(kind, &fields, text.len()),
        None => short(&first, &fields),
    }
}

/// `PORT` and `HOST:PORT`.
fn short(first: &Field, rest: &[Field]) -> Result<Listen, Fault> {
    let reserved = RESERVED.iter().any(|word| word.eq_ignore_ascii_case(&first.value));
    let (interface, port) = match rest {
        [] if !reserved => (Interface::All, short_port(first)?),
        [_] if first.value.is_empty() => {
            return Err(Fault { offset: first.offset, problem: Problem::NoHost });
        }
        [port @ Field { key: None, .. }] if !reserved => {
            let port = short_port(port)?;
            (host(&first.value).ok_or(Fault { offset: first.offset, problem: Problem::Host })?, port)
        }
        _ => {
            let kind = first.value.clone();
            return Err(Fault { offset: first.offset, problem: Problem::UnknownKind { kind } });
        }
    };
    Ok(Listen { interface, port, backlog: None })
}

fn short_port(field: &Field) -> Result<u16, Fault> {
    port_digits(&field.value).ok_or(Fault { offset: field.value_offset, problem: Problem::Port })
}

/// `[ADDRESS]:PORT`, with the opening bracket already taken.
fn bracketed(rest: &str) -> Result<Listen, Fault> {
    let (address, tail) = rest.split_once(']').ok_or(Fault { offset: 0, problem: Problem::Bracketed })?;
    let interface = v6(address).ok_or(Fault { offset: 1, problem: Problem::Bracketed })?;
    let tail_offset = address.len() + 2;
    let port = tail.strip_prefix(':').ok_or(Fault { offset: tail_offset, problem: Problem::Bracketed })?;
    let port = port_digits(port).ok_or(Fault { offset: tail_offset + 1, problem: Problem::Port })?;
    Ok(Listen { interface, port, backlog: None })
}

/// The arguments of a long form; `end` is where a missing one would stand.
fn long(kind: Kind, arguments: &[Field], end: usize) -> Result<Listen, Fault> {
    let mut listen = Listen { interface: kind.default_interface(), port: 0, backlog: None };
    for (argument, field) in kind.order().into_iter().zip(assign(kind, arguments)?) {
        let Some(field) = field else {
            if argument == Argument::Port {
                return Err(Fault { offset: end, problem: Problem::NoPort { form: kind.form() } });
            }
            continue;
        };
        let fault = |problem| Fault { offset: field.value_offset, problem };
        match argument {
            Argument::Port => {
                let port = integer(&field.value).and_then(|port| u16::try_from(port).ok());
                listen.port = port.ok_or_else(|| fault(Problem::Port))?;
            }
            Argument::Backlog => {
                let backlog = integer(&field.value).filter(|backlog| *backlog <= BACKLOG_MAX);
                listen.backlog = Some(backlog.ok_or_else(|| fault(Problem::Backlog))?);
            }
            Argument::Interface => listen.interface = kind.interface(&field.value).map_err(fault)?,
        }
    }
    Ok(listen)
}

/// Which field gives which argument, in the kind's order.
fn assign(kind: Kind, fields: &[Field]) -> Result<[Option<&Field>; 3], Fault> {
    let form = kind.form();
    let mut given = [None; 3];
    let mut places = given.iter_mut();
    for field in fields.iter().filter(|field| field.key.is_none()) {
        let place = places.next().ok_or(Fault { offset: field.offset, problem: Problem::TooMany { form } })?;
        *place = Some(field);
    }
    for field in fields {
        let Some(key) = &field.key else { continue };
        let fault = |problem| Fault { offset: field.offset, problem };
        let Some(place) = kind.order().iter().position(|argument| argument.word() == key) else {
            return Err(fault(Problem::UnknownArgument { argument: key.clone(), form }));
        };
        if given[place].is_some_and(|earlier: &Field| earlier.key.is_none()) {
            return Err(fault(match kind.order()[place] {
                // `interface=::1` is an empty interface and two places more.
                Argument::Interface => Problem::TwiceOrColons,
                argument @ (Argument::Port | Argument::Backlog) => Problem::Twice { argument: argument.word(), form },
            }));
        }
        // Of one keyword given several times, the last one holds.
        given[place] = Some(field);
    }
    Ok(given)
}

/// A name, or an address of either family.
fn host(text: &str) -> Option<Interface> {
    text.parse().map(Interface::V4).ok().or_else(|| v6(text)).or_else(|| name(text))
}

/// A host name by its letters. Its last label is not a number: `127.0.0.256` or a port in the wrong place is a mistake
/// to tell the user about, not a name to look up.
fn name(text: &str) -> Option<Interface> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = labels.rsplit('.').next().unwrap_or(labels);
    let is_name = text.len() <= 253
        && labels.split('.').all(is_label)
        && !text.starts_with('-')
        && !last.bytes().all(|b| b.is_ascii_digit());
    is_name.then(|| Interface::Name(text.to_owned()))
}

/// `ADDRESS` or `ADDRESS%ZONE`.
fn v6(text: &str) -> Option<Interface> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    // Names of network interfaces are at most 15 bytes long.
    let is_zone = |zone: &str| {
        matches!(zone.len(), 1..=15) && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
    };
    let address = address.parse().ok().filter(|_| zone.is_none_or(is_zone))?;
    Some(Interface::V6 { address, zone: zone.map(str::to_owned) })
}

/// `::1` or `::1:80`, which colons would cut to pieces.
fn is_unbracketed(text: &str) -> bool {
    v6(text).is_some() || text.rsplit_once(':').is_some_and(|(address, _)| v6(address).is_some())
}

/// A port in a short form: digits and nothing else.
fn port_digits(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number in a long form: whatever ASCII text Python's `int()` takes, as Twisted does, so with blanks around it, a sign
/// in front and single underscores between its digits.
fn integer(text: &str) -> Option<u32> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let is_group = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.split('_').all(is_group) {
        return None;
    }
    let value = digits.replace('_', "").parse().ok()?;
    (!negative || value == 0).then_some(value)
}
