//! The values of arguments, each from its own text alone.

use std::os::fd::RawFd;

use super::error::Problem;
use super::{Domain, Interface, UnixAddress};

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

/// A name, or an address of either family.
pub(super) fn host(text: &str) -> Option<Interface> {
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
pub(super) fn v6(text: &str) -> Option<Interface> {
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
