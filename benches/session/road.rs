//! What carries the client's bytes: a connection, or a WebSocket's binary messages.

use crate::common::Result;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

/// How much is received at a time.
const CHUNK: usize = 256 * 1024;
/// How long anything may take. What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that waits.
pub enum Road {
    Plain { stream: TcpStream, room: Vec<u8> },
    WebSocket(Box<WebSocket<TcpStream>>, tungstenite::Bytes),
}

/// Connects, as soon as somebody listens.
pub fn connect(port: u16) -> Result<TcpStream> {
    let began = Instant::now();
    let stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if began.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A request by HTTP over a connection of its own; the content of its answer.
pub fn post(port: u16, path: &str, content: &str) -> Result<String> {
    let mut stream = connect(port)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{content}",
        content.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, content) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.starts_with("HTTP/1.1 201") { Ok(content.to_owned()) } else { Err(answer.into()) }
}

impl Road {
    pub fn plain(port: u16) -> Result<Road> {
        Ok(Road::Plain { stream: connect(port)?, room: vec![0; CHUNK] })
    }

    /// A WebSocket of this subprotocol, by a user with this secret, if there is one.
    pub fn web_socket(port: u16, path: &str, protocol: &str, secret: Option<&str>) -> Result<Road> {
        let mut request = format!("ws://localhost:{port}{path}").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse()?);
        if let Some(secret) = secret {
            request.headers_mut().insert("Authorization", format!("Bearer {secret}").parse()?);
        }
        let config = WebSocketConfig::default().read_buffer_size(CHUNK).write_buffer_size(0);
        let made = tungstenite::client::client_with_config(request, connect(port)?, Some(config));
        let (socket, _) = made.map_err(|error| format!("no WebSocket: {error}"))?;
        Ok(Road::WebSocket(Box::new(socket), tungstenite::Bytes::new()))
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Road::Plain { stream, .. } => Ok(stream.write_all(bytes)?),
            Road::WebSocket(socket, _) => Ok(socket.send(Message::binary(bytes.to_vec()))?),
        }
    }

    /// What comes next, at least one byte.
    pub fn receive(&mut self) -> Result<&[u8]> {
        match self {
            Road::Plain { stream, room } => match stream.read(room)? {
                0 => Err("the connection has ended".into()),
                count => Ok(&room[..count]),
            },
            Road::WebSocket(socket, last) => loop {
                match socket.read()? {
                    Message::Binary(bytes) if !bytes.is_empty() => {
                        *last = bytes;
                        return Ok(last);
                    }
                    Message::Close(reason) => return Err(format!("the WebSocket was closed: {reason:?}").into()),
                    _ => {}
                }
            },
        }
    }
}
