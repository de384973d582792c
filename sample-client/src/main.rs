//! `sample-client PORT [STARTUP-PAUSE]`: prints what each client sends, and shows how a daemon lives under
//! socket-protector. All that makes it safe to replace while clients are connected is in `run`.

use socket_protector_client::{Connection, Protector};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let Some((port, pause)) = parse(&words.collect::<Vec<_>>()) else {
        report("usage: sample-client PORT [STARTUP-PAUSE in seconds]".into());
        return ExitCode::from(2);
    };
    match run(port, pause) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error);
            ExitCode::FAILURE
        }
    }
}

fn run(port: u16, pause: Duration) -> Result<(), Box<dyn Error>> {
    // First of all take what the supervisor passed, or, started by hand, listen by ourselves.
    let protector = match Protector::from_env()? {
        Some(protector) => protector,
        None => {
            // On all addresses: on IPv6 and IPv4 by one socket, or on IPv4 where there is no IPv6.
            let listener = TcpListener::bind(("::", port));
            let listener = listener.or_else(|_| TcpListener::bind(("0.0.0.0", port)));
            Protector::standalone(listener.map_err(|error| format!("cannot listen on port {port}: {error}"))?)?
        }
    };
    print(format!("Starting client up on port {port}\n").as_bytes());
    thread::sleep(pause);

    // Asking for the first connection tells the supervisor that we are ready. The loop ends when
    // it is time to drain; the scope then waits for the connections that are still in progress.
    thread::scope(|threads| {
        for (number, connection) in (1..).zip(protector.incoming()) {
            let started = connection.and_then(|connection| {
                let serve = move || serve(number, connection);
                thread::Builder::new().spawn_scoped(threads, serve)
            });
            if let Err(error) = started {
                report(error.into());
                thread::sleep(Duration::from_millis(100)); // until connections that end make room
            }
        }
    });
    Ok(())
}

fn serve(number: u64, mut connection: Connection) {
    print(format!("new connection: {number}\n").as_bytes());
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = connection.read(&mut bytes) {
        print(&bytes[..count]);
    }
    print(b"\n");
}

fn parse(words: &[String]) -> Option<(u16, Duration)> {
    let (port, pause) = match words {
        [port] => (port, "0"),
        [port, pause] => (port, pause.as_str()),
        _ => return None,
    };
    Some((port.parse().ok()?, Duration::try_from_secs_f64(pause.parse().ok()?).ok()?))
}

/// Prints bytes as they arrive. That nobody reads them any more is no reason to drop a client.
fn print(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

fn report(error: Box<dyn Error>) {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    let _ = writeln!(io::stderr(), "sample-client: {error}{causes}");
}
