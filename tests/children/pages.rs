//! A site for browsers: the files of its directory, as they are when they are asked for.
//!
//! `pages ADDRESS`: in pages `@version@` stands for the text of the file `version` when the server started. `NAME.head` has
//! fields for the answer with that file; where one is a tag, who has the file is told that it is still the same. With a file
//! `broken` the server says what is in it and exits.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

/// Serves until it is ended.
pub(super) fn run(address: &str) -> ExitCode {
    if let Ok(words) = fs::read_to_string("broken") {
        eprintln!("{words}");
        return ExitCode::from(3);
    }
    let version = fs::read_to_string("version").unwrap_or_default();
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    for stream in listener.incoming() {
        let version = version.clone();
        thread::spawn(move || serve(stream.unwrap(), &version));
    }
    ExitCode::SUCCESS
}

/// One request; one who leaves early is none of our sorrows.
fn serve(mut stream: TcpStream, version: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let line = lines.next()?.ok()?;
    let (method, path) = (line.split(' ').next()?, line.split(' ').nth(1)?);
    let fields: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let name = path.split('?').next()?.trim_start_matches('/');
    let name = if name.is_empty() { "index.html" } else { name };
    let more = fs::read_to_string(format!("{name}.head")).unwrap_or_default().replace('\n', "\r\n");
    let known = fields.iter().any(|field| field.to_ascii_lowercase().starts_with("if-none-match:"));
    let (status, body) = match fs::read_to_string(name) {
        Ok(_) if known && more.contains("ETag") => ("304 Not Modified", String::new()),
        Ok(text) => ("200 OK", text.replace("@version@", version)),
        Err(_) => ("404 Not Found", String::new()),
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        _ => "application/octet-stream",
    };
    let length = if status.starts_with("304") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        stream.write_all(body.as_bytes()).ok()?;
    }
    Some(())
}
