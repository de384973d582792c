//! Clients of unix sockets.

use std::io::{BufRead, BufReader, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use super::{PATIENCE, Scene};

/// The endpoint of a unix socket in a scene's directory.
pub(crate) fn unix(scene: &Scene, name: &str) -> String {
    format!("unix:{}", scene.path(name).display())
}

/// Connects to an address as `status` shows it.
pub(crate) fn connect(address: &str) -> std::io::Result<UnixStream> {
    match address.strip_prefix('@') {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => UnixStream::connect(address.strip_prefix("unix:").unwrap()),
    }
}

/// Connections to the listening socket of this path, which is not one of them itself.
///
/// The kernel's table has everybody's sockets, and a path need not be text.
pub(crate) fn connections_to(path: &Path) -> usize {
    let table = std::fs::read("/proc/net/unix").unwrap();
    // An established connection is in state 03, a listening socket in state 01.
    let established = |line: &&[u8]| line.windows(4).any(|word| word == b" 03 ");
    let ends_with_it = |line: &&[u8]| line.strip_suffix(path.as_os_str().as_bytes()).is_some();
    table.split(|&byte| byte == b'\n').filter(ends_with_it).filter(established).count()
}

/// One connection, one request; the generation that answered.
pub(crate) fn try_ask_unix(address: &str) -> std::io::Result<u64> {
    let stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    (&stream).write_all(b"0 hello\n")?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        [generation, _, _, "hello"] => Ok(generation.parse().unwrap()),
        _ => Err(std::io::Error::other(format!("an odd answer: {line:?}"))),
    }
}

#[track_caller]
pub(crate) fn ask_unix(address: &str) -> u64 {
    try_ask_unix(address).unwrap_or_else(|error| panic!("no answer from {address}: {error}"))
}
