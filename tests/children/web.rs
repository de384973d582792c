//! A server for development that says what a script of the trial says, byte for byte.
//!
//! `web DIR ADDRESS`: the path of a request names the script, `DIR/scripts/NAME`; without one the answer is the version, the
//! text of `DIR/version` when the server started. Heads are appended to `DIR/heads`, bodies to `DIR/bodies`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What the proxy calls itself when it asks whether we answer.
const PROBE: &str = "User-Agent: socket-protector";

struct Web {
    dir: PathBuf,
    version: String,
}

/// Serves until it is ended.
pub(super) fn run(dir: &str, address: &str) -> ExitCode {
    let dir = PathBuf::from(dir);
    let version = fs::read_to_string(dir.join("version")).unwrap_or_default();
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    let web = Arc::new(Web { dir, version });
    for stream in listener.incoming() {
        let web = Arc::clone(&web);
        thread::spawn(move || web.serve(stream.unwrap()));
    }
    ExitCode::SUCCESS
}

/// The same, but TERM does nothing.
pub(super) fn stubborn(dir: &str, address: &str) -> ExitCode {
    signal_hook::flag::register(libc::SIGTERM, Arc::default()).unwrap();
    run(dir, address)
}

impl Web {
    fn serve(&self, mut stream: TcpStream) {
        let Some(head) = head(&mut stream) else { return };
        if head.contains(PROBE) && head.starts_with("HEAD / ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        append(&self.dir.join("heads"), head.as_bytes());
        let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let name = path.split('?').next().unwrap_or_default();
        match fs::read_to_string(self.dir.join("scripts").join(name)) {
            Ok(script) => {
                for line in script.lines() {
                    if self.step(&mut stream, &head, line).is_err() {
                        return;
                    }
                }
            }
            Err(_) => {
                let version = &self.version;
                let text = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{version}",
                    version.len()
                );
                let _ = stream.write_all(text.as_bytes());
            }
        }
    }

    fn step(&self, stream: &mut TcpStream, head: &str, line: &str) -> std::io::Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "send" => stream.write_all(&unescaped(rest)),
            "fill" => (0..rest.parse::<usize>().unwrap() / 1024).try_for_each(|_| stream.write_all(&[b'x'; 1024])),
            "body" => {
                let body = body(stream, head)?;
                append(&self.dir.join("bodies"), &body);
                Ok(())
            }
            "count" => {
                let mut buffer = [0; 64 * 1024];
                let mut left = rest.parse::<usize>().unwrap();
                while left > 0 {
                    match stream.read(&mut buffer)? {
                        0 => break,
                        count => left = left.saturating_sub(count),
                    }
                }
                Ok(())
            }
            "pattern" => super::pattern::write(stream, rest.parse().unwrap()),
            "expect" => {
                let count = rest.parse().unwrap();
                let right = super::pattern::read(stream, count)?;
                if right == count { Ok(()) } else { fs::write(self.dir.join("wrong"), right.to_string()) }
            }
            "head" => {
                let text =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{head}", head.len());
                stream.write_all(text.as_bytes())
            }
            "until" => {
                while !self.dir.join(rest).exists() {
                    thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            }
            "note" => fs::write(self.dir.join(rest), ""),
            "echo" => std::io::copy(&mut stream.try_clone()?, stream).map(drop),
            "websocket" => {
                super::websocket::serve(stream.try_clone()?);
                Ok(())
            }
            "end" => stream.shutdown(std::net::Shutdown::Write),
            "eof" => std::io::copy(stream, &mut std::io::sink()).map(drop),
            "reset" => socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
            "exit" => std::process::exit(rest.parse().unwrap()),
            other => panic!("no such step: {other}"),
        }
    }
}

/// A head, with its empty line.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// A whole body as it came: so many bytes, or chunks to the end of their trailers.
fn body(stream: &mut TcpStream, head: &str) -> std::io::Result<Vec<u8>> {
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some((_, rest)) = lower.split_once("content-length: ") {
        let length = rest.split("\r\n").next().unwrap().parse::<u64>().unwrap();
        stream.take(length).read_to_end(&mut body)?;
    } else if lower.contains("transfer-encoding: chunked") {
        let mut byte = [0];
        while !(body.starts_with(b"0\r\n") || body.windows(5).any(|five| five == b"\r\n0\r\n"))
            || !body.ends_with(b"\r\n\r\n")
        {
            stream.read_exact(&mut byte)?;
            body.push(byte[0]);
        }
    }
    Ok(body)
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Text with `\r`, `\n`, `\0` and `\\`.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut letters) = (Vec::new(), text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => bytes.push(match letters.next() {
                Some('r') => b'\r',
                Some('n') => b'\n',
                Some('0') => 0,
                _ => b'\\',
            }),
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}
