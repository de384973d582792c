//! Programs that know nothing of supervisors: they bind an address of their own, and a signal ends them with all that
//! they were doing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use super::give_back::give_one;
use super::serve::Service;
use super::wire::generation;

/// Serves at this port, or path, or else at the port that the environment names.
pub(super) fn run(address: Option<&str>) -> ExitCode {
    let service = Service::new(generation());
    each(address, |connection| service.take(connection))
}

/// Answers each connection with what it is told first, in hexadecimal digits: all that comes at once.
pub(super) fn repeats() -> ExitCode {
    each(None, |connection| {
        let mut stream = std::net::TcpStream::from(connection);
        let mut said = vec![0; 4096];
        let mut length = 0;
        // The client's own line comes last.
        while !said[..length].ends_with(b"0 hello\n") {
            match stream.read(&mut said[length..]) {
                Ok(0) | Err(_) => return,
                Ok(more) => length += more,
            }
        }
        let text: String = said[..length].iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = stream.write_all(format!("{text}\n").as_bytes());
        let _ = BufReader::new(stream).lines().next();
    })
}

/// Writes down what comes with the first request by HTTP, and answers it.
pub(super) fn records(file: &str) -> ExitCode {
    each(None, |connection| {
        let mut stream = std::net::TcpStream::from(connection);
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"close\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            said.extend_from_slice(&byte);
        }
        std::fs::write(file, said).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    })
}

/// Gives the first connection back, though it has accepted it by itself, and serves the others.
pub(super) fn gives_back() -> ExitCode {
    let service = Service::new(generation());
    let first = AtomicBool::new(true);
    each(None, |connection| {
        if first.swap(false, Ordering::Relaxed) {
            give_one(connection.as_fd());
        } else {
            service.take(connection);
        }
    })
}

fn each(address: Option<&str>, serve: impl Fn(OwnedFd)) -> ExitCode {
    let port = std::env::var("PORT").ok();
    let address = address.map(str::to_owned).or(port).expect("an address");
    match address.parse::<u16>() {
        Ok(port) => {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port that is free");
            listener.incoming().for_each(|connection| serve(connection.unwrap().into()));
        }
        Err(_) => {
            let listener = UnixListener::bind(&address).expect("a path that is free");
            listener.incoming().for_each(|connection| serve(connection.unwrap().into()));
        }
    }
    ExitCode::SUCCESS
}
