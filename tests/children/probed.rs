//! Children that never say that they are ready: they have to be asked.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::echo::serve;
use super::misbehave::park;
use super::serve::Service;
use super::wire::{Channel, VERSION, generation, listeners};

/// A channel that is used, so that its end drains, but never says ready.
fn channel() -> Channel {
    let channel = Channel::from_env().expect("a channel");
    channel.hello(VERSION);
    channel
}

/// Takes connections after a while. A request by HTTP is answered by `what` until so long after the start, then 200.
pub(super) fn run(late: Duration, what: &str, until: Duration) -> ExitCode {
    run_on(&listeners(), late, what, until)
}

/// The same at the second listener, since the first brings datagrams.
pub(super) fn second() -> ExitCode {
    run_on(&listeners()[1..], Duration::ZERO, "200", Duration::ZERO)
}

/// The same, with so many descriptors open besides.
pub(super) fn with_many(count: u64) -> ExitCode {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let null = File::open("/dev/null").unwrap();
    let _many = (0..count).map(|_| null.try_clone().unwrap()).collect::<Vec<_>>();
    run(Duration::ZERO, "200", Duration::ZERO)
}

/// The same, and nobody but root may see what it has open.
pub(super) fn opaque() -> ExitCode {
    nix::sys::prctl::set_dumpable(false).unwrap();
    run(Duration::ZERO, "200", Duration::ZERO)
}

fn run_on(listeners: &[OwnedFd], late: Duration, what: &str, until: Duration) -> ExitCode {
    let start = Instant::now();
    let what = what.to_owned();
    let http = move |line: &str, stream: &mut &TcpStream| {
        let what = if start.elapsed() < until { what.as_str() } else { "200" };
        eprintln!("asked: {line}");
        // Whoever asks may have heard enough.
        let _ = answer(what, stream);
    };
    let service = Service::new(generation()).with_http(Arc::new(http));
    let channel = channel();
    thread::sleep(late);
    serve(&channel, listeners, |connection| service.take(connection));
    service.finish();
    ExitCode::SUCCESS
}

fn answer(what: &str, stream: &mut &TcpStream) -> std::io::Result<()> {
    match what {
        "garbage" => stream.write_all(b"220 mail.example ESMTP\r\n"),
        "closes" => Ok(()),
        "silent" => {
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        "endless" => loop {
            stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")?;
        },
        "endless_body" => {
            stream.write_all(b"HTTP/1.1 503 No\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
        "slow" => {
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        status => {
            let body = "x".repeat(10_000);
            let head = format!("HTTP/1.1 {status} Some Reason\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(body.as_bytes())
        }
    }
}

/// The first generation serves, the others take nothing.
pub(super) fn deaf() -> ExitCode {
    match generation() {
        1 => run(Duration::ZERO, "200", Duration::ZERO),
        _ => {
            let _channel = channel();
            park()
        }
    }
}

/// Says a word to whoever comes and closes at once; only the first generation does.
pub(super) fn greets() -> ExitCode {
    if generation() > 1 && std::env::var_os("ALL_GREET").is_none() {
        park();
    }
    let channel = channel();
    let greet = |connection| {
        let _ = writeln!(TcpStream::from(connection), "{}", generation());
    };
    serve(&channel, &listeners(), greet);
    ExitCode::SUCCESS
}

/// Its leader only waits; a process below it, in a group of its own, does the work.
pub(super) fn by_worker() -> ExitCode {
    let script = "LISTEN_PID=$$ exec \"$0\" child probed 0 200 0";
    let mut worker = Command::new("setsid");
    worker.args(["--wait", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let status = worker.status().expect("setsid of util-linux");
    ExitCode::from(u8::from(!status.success()))
}

/// The same, but the process in between has gone: the worker is in the leader's group still, and nobody's child.
pub(super) fn by_orphan() -> ExitCode {
    let script = "sh -c 'LISTEN_PID=$$ exec \"$0\" child probed 0 200 0' \"$0\" &";
    let mut between = Command::new("sh");
    between.args(["-c", script]).arg(std::env::current_exe().unwrap()).stdout(Stdio::piped());
    // Until the worker has closed its output, which is at its end.
    let output = between.output().unwrap();
    ExitCode::from(u8::from(!output.status.success()))
}
