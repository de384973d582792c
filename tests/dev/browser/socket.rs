//! A client of LiveReload's protocol 7, written by hand, WebSocket and all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::harness::PATIENCE;

/// The path of the channel on the page's own host.
pub(in crate::dev) const CHANNEL: &str = "/__socket_protector/reload";
/// The protocol's name.
const PROTOCOL: &str = "http://livereload.com/protocols/official-7";

/// An open WebSocket.
pub(in crate::dev) struct Socket {
    stream: TcpStream,
}

impl Socket {
    /// Opens one with these fields, `Host` among them; or the status that says why not.
    #[track_caller]
    pub(in crate::dev) fn open(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Result<Socket, u16> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "GET {path} HTTP/1.1\r\n{fields}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        match head["http/1.1 ".len()..][..3].parse().unwrap() {
            101 => {
                assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
                Ok(Socket { stream })
            }
            status => {
                assert!(!head.contains("access-control-allow-origin"), "{head}");
                Err(status)
            }
        }
    }

    /// Opens one and says hello; what is answered.
    #[track_caller]
    pub(in crate::dev) fn join(address: SocketAddr, path: &str) -> (Socket, Value) {
        let mut socket = Socket::open(address, path, &[("Host", &address.to_string())]).unwrap();
        socket.say(&json!({ "command": "hello", "protocols": [PROTOCOL] }));
        let hello = socket.hear();
        assert_eq!((&hello["command"], &hello["protocols"]), (&json!("hello"), &json!([PROTOCOL])), "{hello}");
        (socket, hello)
    }

    /// Sends a message.
    pub(in crate::dev) fn say(&mut self, message: &Value) {
        let text = message.to_string();
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 1, 2, 3, 4];
        assert!(text.len() < 126, "a longer one needs a longer length");
        frame.extend(text.bytes().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        self.stream.write_all(&frame).unwrap();
    }

    /// The next message.
    #[track_caller]
    pub(in crate::dev) fn hear(&mut self) -> Value {
        self.try_hear().expect("the connection is open")
    }

    /// The next message; none if the connection is closed.
    #[track_caller]
    pub(in crate::dev) fn try_hear(&mut self) -> Option<Value> {
        loop {
            let (kind, payload) = self.frame()?;
            match kind {
                0x81 => return Some(serde_json::from_slice(&payload).unwrap()),
                0x89 => {}
                0x88 => return None,
                other => panic!("a frame of kind {other:x}"),
            }
        }
    }

    #[track_caller]
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came"),
            Err(_) => return None,
        }
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut long = [0; 2];
            self.stream.read_exact(&mut long).ok()?;
            length = usize::from(u16::from_be_bytes(long));
        }
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[0], payload))
    }
}
