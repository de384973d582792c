//! Hands open files from one program to another.
//!
//! ```text
//! handoff serve PATH FILE... [--gob|--raw|--no-meta]
//! handoff receive PATH [--timeout 2s]
//! ```
//!
//! `serve` gives every client the descriptor of each FILE, with the name as metadata under the key `name`, until it is
//! killed: as a map of our own, or one of Go's, or the bare bytes, or nothing. `receive` prints what it is given, a line
//! for each descriptor: `fd DEVICE:INODE METADATA`, the numbers as `stat -c %d:%i` prints them.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use socket_protector_client::handoff::{
    CallbackError, Descriptor, Metadata, Receiver, Sequence, Server, gob, key_value,
};
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: handoff serve PATH FILE... [--gob|--raw|--no-meta] | handoff receive PATH [--timeout 2s]";

/// How a file's name goes with its descriptor.
#[derive(Clone, Copy)]
enum Style {
    KeyValue,
    Gob,
    Raw,
    None,
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match words.split_first() {
        Some((word, words)) if word == "serve" => serve(words),
        Some((word, words)) if word == "receive" => receive(words),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn serve(words: &[OsString]) -> Result<(), Box<dyn Error>> {
    let mut style = Style::KeyValue;
    let mut operands = Vec::new();
    for word in words {
        match word.to_str() {
            Some("--gob") => style = Style::Gob,
            Some("--raw") => style = Style::Raw,
            Some("--no-meta") => style = Style::None,
            Some(option) if option.starts_with("--") => return Err(USAGE.into()),
            _ => operands.push(word),
        }
    }
    let Some((path, files)) = operands.split_first().filter(|(_, files)| !files.is_empty()) else {
        return Err(USAGE.into());
    };
    let mut sequence = Sequence::new();
    for name in files {
        let file = open(name).map_err(|error| format!("cannot open {}: {error}", name.display()))?;
        sequence = sequence.push(file, style.metadata(name.as_bytes())?);
    }
    Server::bind(path)?.serve(&mut sequence, |error| report(&error))?;
    Ok(())
}

/// Opens a file to be read. Of a pipe with a name nobody has to write to it yet; that it was not waited for is not to be
/// noticed by whoever gets it.
fn open(name: &OsStr) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(name)?;
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

impl Style {
    fn metadata(self, name: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
        Ok(match self {
            Style::KeyValue => {
                let mut map = Vec::new();
                key_value::encode(&[("name", name)], &mut map)?;
                map
            }
            Style::Gob => gob::encode(&gob::Map::from([(b"name".to_vec(), gob::Value::String(name.to_vec()))])),
            Style::Raw => name.to_vec(),
            Style::None => Vec::new(),
        })
    }
}

fn receive(words: &[OsString]) -> Result<(), Box<dyn Error>> {
    let mut receiver = Receiver::new();
    let mut path = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if let Some(time) = text.strip_prefix("--timeout=") {
            receiver = receiver.time_limit(limit(time)?);
        } else if text == "--timeout" {
            receiver = receiver.time_limit(limit(&words.next().ok_or(USAGE)?.to_string_lossy())?);
        } else if text.starts_with("--") || path.replace(word).is_some() {
            return Err(USAGE.into());
        }
    }
    receiver.receive(path.ok_or(USAGE)?, print)?;
    Ok(())
}

fn print(descriptor: Descriptor, metadata: &[u8]) -> Result<(), CallbackError> {
    let found = fstat(&descriptor)?;
    writeln!(io::stdout(), "fd {}:{} {}", found.st_dev, found.st_ino, Metadata::of(metadata))?;
    Ok(())
}

/// `250ms`, `10s`, `5m`, `1h`, a number of seconds, or `never`.
fn limit(text: &str) -> Result<Option<Duration>, Box<dyn Error>> {
    if text == "never" {
        return Ok(None);
    }
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{text} is no time such as 250ms, 10s, 5m or 1h").into()),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text} is no time such as 250ms, 10s, 5m or 1h"))?;
    Ok(Some(Duration::from_millis(number.saturating_mul(unit))))
}

fn report(error: &dyn Error) {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    let _ = writeln!(io::stderr(), "handoff: {error}{causes}");
}
