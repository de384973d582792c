//! `tokio_echo PORT`: sends every line back, and can be replaced while clients are connected.
//!
//!     cargo run -p socket-protector-client --example tokio_echo --features tokio -- 4321
//!     socket-protector -f 4321 -- target/debug/examples/tokio_echo 4321

use socket_protector_client::Protector;
use socket_protector_client::tokio::AsyncProtector;
use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("usage: tokio_echo PORT")?.parse()?;
    // Before the runtime starts its threads; so not by #[tokio::main].
    let protector = match Protector::from_env()? {
        Some(protector) => protector,
        None => standalone(port)?,
    };
    Runtime::new()?.block_on(serve(protector))
}

async fn serve(protector: Protector) -> Result<(), Box<dyn Error>> {
    let protector = Arc::new(AsyncProtector::new(protector)?);
    let mut connections = JoinSet::new();
    loop {
        match protector.accept().await {
            Ok(Some(connection)) => {
                let protector = Arc::clone(&protector);
                connections.spawn(async move { echo(connection.try_into()?, &protector).await });
            }
            Ok(None) => break,
            Err(error) => {
                report(&format!("cannot accept: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await; // until connections that end make room
            }
        }
        while connections.try_join_next().is_some() {} // a client that went away is no error of ours
    }
    connections.join_all().await;
    Ok(())
}

/// Sends back what comes. Once it is time to drain, a client that has had its answer, and begun no new line, is not
/// waited for, as a web server ends its idle connections.
async fn echo(mut stream: TcpStream, protector: &AsyncProtector) -> io::Result<()> {
    let mut bytes = [0; 4096];
    let mut idle = false;
    loop {
        let count = tokio::select! {
            biased; // what has arrived is answered first
            count = stream.read(&mut bytes) => count?,
            () = protector.draining(), if idle => 0,
        };
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..count]).await?;
        idle = bytes[count - 1] == b'\n';
    }
}

/// Serves without a supervisor, on IPv6 and IPv4, or on IPv4 where there is no IPv6.
fn standalone(port: u16) -> Result<Protector, Box<dyn Error>> {
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    report(&format!("listening on {}", listener.local_addr()?));
    Ok(Protector::standalone(listener)?)
}

fn report(text: &str) {
    let _ = writeln!(io::stderr(), "tokio_echo: {text}");
}
