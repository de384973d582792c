//! From the text of an endpoint to its value: the short forms, and the arguments of each kind.

use std::net::Ipv6Addr;

use super::error::{Fault, Problem};
use super::lexer::{self, Field, LoneBackslash};
use super::{Adopt, Interface, Listen, Tcp, Udp, Unix, UnixAddress, Which, value};

/// First words that mean a kind of endpoint, here or elsewhere. In no case of letters are they a host in `HOST:PORT`,
/// so that `ssl:443` is refused and not taken for a host called ssl.
const RESERVED: [&str; 10] = ["tcp", "tcp6", "ssl", "tls", "unix", "udp", "systemd", "haproxy", "fd", "stdio"];

/// No kind has more arguments than this.
const MOST: usize = 4;

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Tcp6,
    Udp,
    Unix,
    Systemd,
    Descriptor,
}

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
}

impl Kind {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "tcp" => Some(Self::Tcp),
            "tcp6" => Some(Self::Tcp6),
            "udp" => Some(Self::Udp),
            "unix" => Some(Self::Unix),
            "systemd" => Some(Self::Systemd),
            "fd" => Some(Self::Descriptor),
            _ => None,
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::Tcp => "tcp:PORT[:INTERFACE[:BACKLOG]]",
            Self::Tcp6 => "tcp6:PORT[:BACKLOG[:INTERFACE]]",
            Self::Udp => "udp:PORT[:INTERFACE]",
            Self::Unix => "unix:ADDRESS[:MODE[:BACKLOG]], with any ':' or '=' of the address escaped by a backslash",
            Self::Systemd => "systemd:domain=DOMAIN:index=N or systemd:domain=DOMAIN:name=NAME",
            Self::Descriptor => "fd:N",
        }
    }

    /// What the positional arguments mean. That tcp and tcp6 differ is Twisted's doing.
    const fn order(self) -> &'static [Argument] {
        match self {
            Self::Tcp => &[Argument::Port, Argument::Interface, Argument::Backlog],
            Self::Tcp6 => &[Argument::Port, Argument::Backlog, Argument::Interface],
            Self::Udp => &[Argument::Port, Argument::Interface],
            Self::Unix => &[Argument::Address, Argument::Mode, Argument::Backlog, Argument::Lockfile],
            Self::Systemd => &[Argument::Domain, Argument::Index, Argument::Name],
            Self::Descriptor => &[Argument::Number],
        }
    }
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
    if value::is_unbracketed(text) {
        return Err(Fault { offset: 0, problem: Problem::Unbracketed });
    }
    let mut fields =
        lexer::fields(text).map_err(|LoneBackslash(offset)| Fault { offset, problem: Problem::LoneBackslash })?;
    let Some(first) = fields.iter().position(|field| field.key.is_none()) else {
        return Err(Fault { offset: 0, problem: Problem::NoKind });
    };
    // As if `unix:` stood before it.
    if fields[first].value.starts_with('@') {
        return long(Kind::Unix, &fields, text.len());
    }
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
            (value::host(&first.value).ok_or(Fault { offset: first.offset, problem: Problem::Host })?, port)
        }
        _ => {
            let kind = first.value.clone();
            return Err(Fault { offset: first.offset, problem: Problem::UnknownKind { kind } });
        }
    };
    Ok(Listen::Tcp(Tcp { interface, port, backlog: None }))
}

fn short_port(field: &Field) -> Result<u16, Fault> {
    value::port_digits(&field.value).ok_or(Fault { offset: field.value_offset, problem: Problem::Port })
}

/// `[ADDRESS]:PORT`, with the opening bracket already taken.
fn bracketed(rest: &str) -> Result<Listen, Fault> {
    let (address, tail) = rest.split_once(']').ok_or(Fault { offset: 0, problem: Problem::Bracketed })?;
    let interface = value::v6(address).ok_or(Fault { offset: 1, problem: Problem::Bracketed })?;
    let tail_offset = address.len() + 2;
    let port = tail.strip_prefix(':').ok_or(Fault { offset: tail_offset, problem: Problem::Bracketed })?;
    let port = value::port_digits(port).ok_or(Fault { offset: tail_offset + 1, problem: Problem::Port })?;
    Ok(Listen::Tcp(Tcp { interface, port, backlog: None }))
}

/// The arguments of a long form; `end` is where a missing one would stand.
fn long(kind: Kind, arguments: &[Field], end: usize) -> Result<Listen, Fault> {
    let given = Given { kind, end, fields: assign(kind, arguments)? };
    match kind {
        Kind::Tcp => Ok(Listen::Tcp(Tcp {
            port: given.required(Argument::Port, value::port)?,
            interface: given.optional(Argument::Interface, interface)?.unwrap_or(Interface::All),
            backlog: given.optional(Argument::Backlog, value::backlog)?,
        })),
        Kind::Tcp6 => {
            let interface6 = |text: &str| value::v6(text).ok_or(Problem::Interface6);
            let unspecified = Interface::V6 { address: Ipv6Addr::UNSPECIFIED, zone: None };
            Ok(Listen::Tcp(Tcp {
                port: given.required(Argument::Port, value::port)?,
                backlog: given.optional(Argument::Backlog, value::backlog)?,
                interface: given.optional(Argument::Interface, interface6)?.unwrap_or(unspecified),
            }))
        }
        Kind::Udp => Ok(Listen::Udp(Udp {
            port: given.required(Argument::Port, value::port)?,
            interface: given.optional(Argument::Interface, interface)?.unwrap_or(Interface::All),
        })),
        Kind::Unix => unix(&given),
        Kind::Systemd => systemd(&given),
        Kind::Descriptor => Ok(Listen::Adopt(Adopt::Descriptor(given.required(Argument::Number, value::descriptor)?))),
    }
}

/// The empty text is the default of the argument, so it may also be written.
fn interface(text: &str) -> Result<Interface, Problem> {
    if text.is_empty() { Ok(Interface::All) } else { value::host(text).ok_or(Problem::Host) }
}

fn unix(given: &Given<'_>) -> Result<Listen, Fault> {
    let address = given.required(Argument::Address, value::unix_address)?;
    let (UnixAddress::Path(name) | UnixAddress::Abstract(name)) = &address;
    if name.is_empty() {
        return Err(given.missing(Argument::Address));
    }
    let mode = given.optional(Argument::Mode, |text| match address {
        UnixAddress::Path(_) => value::mode(text),
        UnixAddress::Abstract(_) => Err(Problem::AbstractMode),
    })?;
    let backlog = given.optional(Argument::Backlog, value::backlog)?;
    given.optional(Argument::Lockfile, |_| Err::<(), _>(Problem::Lockfile))?;
    Ok(Listen::Unix(Unix { address, mode, backlog }))
}

fn systemd(given: &Given<'_>) -> Result<Listen, Fault> {
    let domain = given.required(Argument::Domain, value::domain)?;
    let index = given.optional(Argument::Index, value::index)?;
    let name = given.optional(Argument::Name, value::passed_name)?;
    let which = match (index, name) {
        (Some(index), None) => Which::Index(index),
        (None, Some(name)) => Which::Name(name),
        (Some(_), Some(_)) | (None, None) => {
            let offset = given.field(Argument::Name).map_or(given.end, |field| field.offset);
            return Err(Fault { offset, problem: Problem::IndexOrName { form: given.kind.form() } });
        }
    };
    Ok(Listen::Adopt(Adopt::Systemd { domain, which }))
}

/// The arguments that a text gives, in the kind's order.
struct Given<'a> {
    kind: Kind,
    end: usize,
    fields: [Option<&'a Field>; MOST],
}

impl Given<'_> {
    fn field(&self, argument: Argument) -> Option<&Field> {
        let mut places = self.kind.order().iter().zip(self.fields);
        places.find(|(known, _)| **known == argument).and_then(|(_, field)| field)
    }

    fn missing(&self, argument: Argument) -> Fault {
        let problem = Problem::Missing { argument: argument.word(), form: self.kind.form() };
        Fault { offset: self.field(argument).map_or(self.end, |field| field.value_offset), problem }
    }

    fn optional<T>(
        &self,
        argument: Argument,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Fault> {
        let fault = |field: &Field, problem| Fault { offset: field.value_offset, problem };
        self.field(argument).map(|field| read(&field.value).map_err(|problem| fault(field, problem))).transpose()
    }

    fn required<T>(&self, argument: Argument, read: impl FnOnce(&str) -> Result<T, Problem>) -> Result<T, Fault> {
        self.optional(argument, read)?.ok_or_else(|| self.missing(argument))
    }
}

/// Which field gives which argument, in the kind's order.
fn assign(kind: Kind, fields: &[Field]) -> Result<[Option<&Field>; MOST], Fault> {
    let form = kind.form();
    let mut given = [None; MOST];
    let mut places = given.iter_mut().take(kind.order().len());
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
            let argument = kind.order()[place];
            // `interface=::1` is an empty interface and two places more.
            return Err(fault(if argument == Argument::Interface {
                Problem::TwiceOrColons
            } else {
                Problem::Twice { argument: argument.word(), form }
            }));
        }
        // Of one keyword given several times, the last one holds.
        given[place] = Some(field);
    }
    Ok(given)
}
