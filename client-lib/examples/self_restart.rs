//! `self_restart ADDRESS`: a small web server that replaces itself on HUP, without a supervisor.
//!
//! It starts its own program again, whatever is installed there by then, and hands it the listening socket over a pair
//! of sockets. When the successor says that it serves, this process takes no further client, finishes those that it has,
//! and exits. If the successor dies or does not say so in time, this one serves on. TERM ends it. Try it:
//!
//! ```text
//! self_restart 127.0.0.1:8080 &
//! curl http://127.0.0.1:8080/         # the number of the process that answers
//! kill -HUP $(curl -s http://127.0.0.1:8080/)
//! ```
//!
//! The number of the process changes with every restart, and whoever started it sees it exit. Where that matters, the
//! supervisor is the better choice.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket_protector_client::handoff;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// In the environment of a successor: its standard input is the stream to the one before it.
const SUCCESSOR: &str = "SELF_RESTART_SUCCESSOR";
/// How long a successor may take until it serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a signal asks for.
enum Wish {
    Restart,
    End,
}

fn main() -> Result<(), Box<dyn Error>> {
    // Before there are threads, which inherit the mask: a signal is then an event beside the others.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGHUP);
    mask.add(Signal::SIGTERM);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // By its path, and now: later it may be a new file, and this one's name gone.
    let program = std::env::current_exe()?;
    let address = std::env::args_os().nth(1).ok_or("usage: self_restart ADDRESS")?;

    let listener = match std::env::var_os(SUCCESSOR) {
        Some(_) => inherit()?,
        None => TcpListener::bind(address.to_str().ok_or("the address is no text")?)?,
    };
    // Processes share the listener while one takes over from the other, and none must sleep in accept.
    listener.set_nonblocking(true)?;
    let mut clients = Vec::new();
    loop {
        match serve(&listener, &signals, &mut clients)? {
            Wish::End => break,
            Wish::Restart => match succeed(&program, &address, &listener) {
                Ok(()) => break,
                Err(error) => {
                    let _ = writeln!(io::stderr(), "self_restart: {error}; the old process serves on");
                }
            },
        }
    }
    drop(listener);
    for client in clients {
        let _ = client.join();
    }
    Ok(())
}

/// Takes the listener from the process before this one, and says that this one serves.
fn inherit() -> Result<TcpListener, Box<dyn Error>> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut listener = None;
    handoff::receive_from(&stream, |descriptor, _| {
        listener = Some(descriptor.into_tcp_listener()?);
        Ok(())
    })?;
    (&stream).write_all(b"!")?;
    Ok(listener.ok_or("no listener was handed over")?)
}

/// Starts the successor and hands it the listener. Returns when it serves.
fn succeed(program: &PathBuf, address: &OsString, listener: &TcpListener) -> Result<(), Box<dyn Error>> {
    let (here, there) = UnixStream::pair()?;
    let mut command = Command::new(program);
    let mut child = command.arg(address).env(SUCCESSOR, "").stdin(Stdio::from(OwnedFd::from(there))).spawn()?;
    // Its copy of the other end is the only one from here on, so that its death is the end of file.
    drop(command);
    let told = hand_over(&here, listener);
    if told.is_err() {
        remove(&mut child);
    }
    told
}

fn hand_over(stream: &UnixStream, listener: &TcpListener) -> Result<(), Box<dyn Error>> {
    handoff::send_to(stream, &[(listener, "listener")])?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0];
    let mut reader: &UnixStream = stream;
    reader.read_exact(&mut answer).map_err(|error| format!("the successor does not serve: {error}"))?;
    Ok(())
}

fn remove(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Serves clients until a signal asks for something else.
fn serve(listener: &TcpListener, signals: &SignalFd, clients: &mut Vec<JoinHandle<()>>) -> io::Result<Wish> {
    loop {
        let wait = |of| PollFd::new(of, PollFlags::POLLIN);
        match poll(&mut [wait(listener.as_fd()), wait(signals.as_fd())], PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            polled => polled?,
        };
        if let Some(signal) = signals.read_signal()? {
            let restart = signal.ssi_signo == Signal::SIGHUP as u32;
            return Ok(if restart { Wish::Restart } else { Wish::End });
        }
        clients.retain(|client| !client.is_finished());
        match listener.accept() {
            Ok((stream, _)) => clients.push(thread::spawn(move || {
                let _ = answer(&stream);
            })),
            // Another process took it, or the client went; without a descriptor it waits for those that end.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Reads a request up to its empty line, and answers with the number of this process.
fn answer(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let lines = BufReader::new(stream).take(16_384).lines();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let body = format!("{}\n", std::process::id());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let mut stream = stream;
    stream.write_all((head + &body).as_bytes())
}
