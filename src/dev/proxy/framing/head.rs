//! The head of a request: its line and its fields (RFC 9112, 3 and 5).

use super::{Fault, MOST_FIELDS};

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Bytes(u64),
    Chunked,
}

/// What matters of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: Length,
    /// It asks for another protocol.
    pub(super) upgrade: bool,
}

/// The fields that say where a request ends and whom it is for.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    chunked: bool,
    host: Option<&'a [u8]>,
    upgrade: bool,
    connection_upgrade: bool,
}

/// Reads a whole head, with its empty line.
pub(super) fn read(bytes: &[u8]) -> Result<Head, Fault> {
    let mut lines = lines(bytes);
    let (target, new) = request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for (count, line) in lines.enumerate() {
        if count >= MOST_FIELDS {
            return Err(Fault::TooLarge);
        }
        let (name, value) = field(line).map_err(Fault::Malformed)?;
        fields.take(name, value).map_err(Fault::Malformed)?;
    }
    let length = match (fields.length, fields.chunked) {
        (Some(_), true) => return malformed("it has a length and is in chunks"),
        (None, true) if !new => return malformed("HTTP/1.0 knows no chunks"),
        (None, true) => Length::Chunked,
        (length, false) => Length::Bytes(length.unwrap_or(0)),
    };
    if new && fields.host.is_none() {
        return malformed("it names no host");
    }
    if let (Some(authority), Some(host)) = (authority(target), fields.host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return malformed("it names two hosts");
    }
    Ok(Head { length, upgrade: fields.upgrade && fields.connection_upgrade })
}

fn malformed<T>(what: &'static str) -> Result<T, Fault> {
    Err(Fault::Malformed(what))
}

/// The lines before the empty one, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r\n").unwrap_or(line));
    lines.take_while(|line| !line.is_empty())
}

/// The target, and whether it is HTTP/1.1.
fn request_line(line: &[u8]) -> Result<(&[u8], bool), Fault> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return malformed("its first line is not three words");
    };
    if !is_token(method) {
        return malformed("its method is no word");
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return malformed("its target has a character that no URI has");
    }
    let new = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        other if other.starts_with(b"HTTP/") => return Err(Fault::Version),
        _ => return malformed("it names no version of HTTP"),
    };
    if method == b"CONNECT" {
        return Err(Fault::Connect);
    }
    Ok((target, new))
}

/// The authority of a target that is a whole URI.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let at = target.windows(3).position(|three| three == b"://").filter(|_| !target.starts_with(b"/"))?;
    target[at + 3..].split(|byte| b"/?#".contains(byte)).next()
}

/// A field's name and its value without the white space around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if line.first().is_some_and(|byte| b" \t".contains(byte)) {
        return Err("a field goes on in another line");
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a field has no colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err("the name of a field is no word");
    }
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err("a field has a control character");
    }
    Ok((name, value.trim_ascii()))
}

fn is_token(word: &[u8]) -> bool {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(fine)
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), &'static str> {
        match name.to_ascii_lowercase().as_slice() {
            b"content-length" => {
                let twice = self.length.replace(length(value)?).is_some();
                if twice { Err("it has two lengths") } else { Ok(()) }
            }
            b"transfer-encoding" => {
                let twice = std::mem::replace(&mut self.chunked, true);
                let known = value.eq_ignore_ascii_case(b"chunked") && !twice;
                if known { Ok(()) } else { Err("its transfer coding is not chunked alone") }
            }
            b"host" => {
                if !value.iter().all(|byte| byte.is_ascii_graphic() && !b",/@\\".contains(byte)) {
                    return Err("its host is none");
                }
                if self.host.replace(value).is_some() { Err("it names two hosts") } else { Ok(()) }
            }
            b"upgrade" => {
                self.upgrade = true;
                Ok(())
            }
            b"connection" => {
                let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.connection_upgrade |= options.any(|option| option.eq_ignore_ascii_case(b"upgrade"));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Digits alone: no sign, no list.
fn length(value: &[u8]) -> Result<u64, &'static str> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err("its length is no number");
    }
    let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    number.filter(|length| *length <= i64::MAX as u64).ok_or("its length is too large a number")
}
