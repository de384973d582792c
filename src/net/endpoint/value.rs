//! The values of arguments, each from its own text alone.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use super::problem::Problem;
use super::{Domain, Family, Host, ProxyVersion, UnixAddress};
use crate::time::{Time, TimeOrNever};

/// `listen(2)` takes a signed number.
const SIGNED_MAX: u32 = i32::MAX.unsigned_abs();

/// `sun_path` has 108 bytes; a path ends with NUL, an abstract name begins with it.
pub(super) const UNIX_NAME_MAX: usize = 107;

pub(super) fn port(text: &str) -> Result<u16, Problem> {
    integer(text).and_then(|port| u16::try_from(port).ok()).ok_or(Problem::Port)
}

pub(super) fn backlog(text: &str) -> Result<u32, Problem> {
    integer(text).filter(|backlog| *backlog <= SIGNED_MAX).ok_or(Problem::Backlog)
}

/// The name of a unix socket. It begins with `@` when it is abstract, or with NUL, as for Twisted.
pub(super) fn unix_address(text: &str) -> Result<UnixAddress, Problem> {
    let of_abstract = text.strip_prefix('@').or_else(|| text.strip_prefix('\0'));
    let name = of_abstract.unwrap_or(text);
    let length = name.len();
    if name.contains('\0') {
        Err(Problem::Nul)
    } else if length > UNIX_NAME_MAX {
        Err(Problem::LongUnixName { length })
    } else {
        let owned = name.to_owned();
        Ok(if of_abstract.is_some() { UnixAddress::Abstract(owned) } else { UnixAddress::Path(owned) })
    }
}

/// Octal digits, as Python's `int(text, 8)` reads them.
pub(super) fn mode(text: &str) -> Result<u32, Problem> {
    let text = text.trim();
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix("0O")).unwrap_or(text);
    let is_octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..b'8').contains(&byte));
    let mode = is_octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    mode.filter(|mode| *mode <= 0o777).ok_or(Problem::Mode)
}

pub(super) fn domain(text: &str) -> Result<Domain, Problem> {
    match text {
        "INET" => Ok(Domain::Inet),
        "INET6" => Ok(Domain::Inet6),
        "UNIX" => Ok(Domain::Unix),
        _ => Err(Problem::Domain),
    }
}

pub(super) fn index(text: &str) -> Result<u32, Problem> {
    integer(text).filter(|index| *index <= SIGNED_MAX).ok_or(Problem::Index)
}

/// See sd_listen_fds(3).
pub(super) fn passed_name(text: &str) -> Result<String, Problem> {
    let fits = matches!(text.len(), 1..=255) && !text.chars().any(|letter| letter == ':' || letter.is_control());
    fits.then(|| text.to_owned()).ok_or(Problem::PassedName)
}

pub(super) fn descriptor(text: &str) -> Result<RawFd, Problem> {
    integer(text).and_then(|number| RawFd::try_from(number).ok()).ok_or(Problem::Descriptor)
}

/// A port that somebody can listen on, which 0 is not.
pub(super) fn destination_port(text: &str) -> Result<u16, Problem> {
    port(text).ok().filter(|port| *port > 0).ok_or(Problem::DestinationPort)
}

pub(super) fn bind_address(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| Problem::BindAddress)
}

pub(super) fn family(text: &str) -> Result<Family, Problem> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        _ => Err(Problem::Prefer),
    }
}

pub(super) fn proxy_version(text: &str) -> Result<ProxyVersion, Problem> {
    match text {
        "v1" => Ok(ProxyVersion::V1),
        "v2" => Ok(ProxyVersion::V2),
        _ => Err(Problem::Proxy),
    }
}

/// Seconds as Twisted reads them, or a time with its unit; of no time at all nothing could come.
fn time(text: &str) -> Option<Duration> {
    let seconds = integer(text).map(|seconds| Duration::from_secs(seconds.into()));
    let time = seconds.or_else(|| text.parse::<Time>().ok().map(Time::duration));
    time.filter(|time| !time.is_zero())
}

pub(super) fn timeout(text: &str) -> Result<Duration, Problem> {
    time(text).ok_or(Problem::Timeout)
}

pub(super) fn limit(text: &str) -> Result<TimeOrNever, Problem> {
    let never = text.parse::<TimeOrNever>().ok().filter(|limit| limit.limit().is_none());
    never.or_else(|| time(text).map(|time| TimeOrNever::of(Some(time)))).ok_or(Problem::Limit)
}

/// The path of a file.
pub(super) fn path(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.contains('\0') { Err(Problem::Path) } else { Ok(text.to_owned()) }
}

/// The names of protocols, parted by commas.
pub(super) fn alpn(text: &str) -> Result<Vec<String>, Problem> {
    let names: Vec<_> = text.split(',').map(str::to_owned).collect();
    // Each goes with its length in one byte, and all of them with theirs in two: see RFC 7301.
    let fits = names.iter().all(|name| matches!(name.len(), 1..=255)) && text.len() < usize::from(u16::MAX);
    fits.then_some(names).ok_or(Problem::Alpn)
}

/// Twisted takes the name of any method of OpenSSL; those that choose the version by themselves do as we do.
pub(super) fn ssl_method(text: &str) -> Result<(), Problem> {
    if matches!(text, "TLS_METHOD" | "TLS_SERVER_METHOD" | "SSLv23_METHOD") { Ok(()) } else { Err(Problem::SslMethod) }
}

/// A name, or an address of either family.
pub(super) fn host(text: &str) -> Option<Host> {
    text.parse().map(Host::V4).ok().or_else(|| v6(text)).or_else(|| name(text))
}

/// A host name by its letters. Its last label is not a number: `127.0.0.256` or a port in the wrong place is a mistake
/// to tell the user about, not a name to look up.
fn name(text: &str) -> Option<Host> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        matches!(label.len(), 1..=63) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last = labels.rsplit('.').next().unwrap_or(labels);
    let is_name = text.len() <= 253
        && labels.split('.').all(is_label)
        && !text.starts_with('-')
        && !last.bytes().all(|b| b.is_ascii_digit());
    is_name.then(|| Host::Name(text.to_owned()))
}

/// `ADDRESS` or `ADDRESS%ZONE`.
pub(super) fn v6(text: &str) -> Option<Host> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    // Names of network interfaces are at most 15 bytes long.
    let is_zone = |zone: &str| {
        matches!(zone.len(), 1..=15) && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
    };
    let address = address.parse().ok().filter(|_| zone.is_none_or(is_zone))?;
    Some(Host::V6 { address, zone: zone.map(str::to_owned) })
}

/// `::1` or `::1:80`, which colons would cut to pieces.
pub(super) fn is_unbracketed(text: &str) -> bool {
    v6(text).is_some() || text.rsplit_once(':').is_some_and(|(address, _)| v6(address).is_some())
}

/// A port in a short form: digits and nothing else.
pub(super) fn port_digits(text: &str) -> Option<u16> {
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
