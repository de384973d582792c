//! The server's end of a WebSocket: what comes goes back, and some words have it do more.

use std::net::TcpStream;
use std::thread;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Bytes, Error, Message, WebSocket};

/// What it sends by itself when it is asked to.
pub(crate) const LARGE: usize = 1024 * 1024;

/// Serves a connection whose protocol has changed, until it is closed by both.
pub(super) fn serve(stream: TcpStream) {
    let speaking = stream.try_clone().unwrap();
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    loop {
        let said = match socket.read() {
            Ok(Message::Text(word)) if word == "ask" => socket.send(Message::Ping("there?".into())),
            Ok(Message::Text(word)) if word == "close" => {
                let farewell = CloseFrame { code: CloseCode::from(4001), reason: "as you say".into() };
                socket.close(Some(farewell))
            }
            Ok(Message::Text(word)) if word == "both" => both(&mut socket, speaking.try_clone().unwrap()),
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message),
            Ok(Message::Pong(word)) => socket.send(Message::text(format!("pong {}", word.len()))),
            // They are answered by the next reading.
            Ok(Message::Ping(_) | Message::Close(_) | Message::Frame(_)) => Ok(()),
            Err(error) => Err(error),
        };
        // Closed by both, or gone.
        if said.is_err() {
            return;
        }
    }
}

/// Sends a large message while another one is being read, which is then sent back.
fn both(socket: &mut WebSocket<TcpStream>, stream: TcpStream) -> Result<(), Error> {
    let sending = thread::spawn(move || {
        let mut speaking = WebSocket::from_raw_socket(stream, Role::Server, None);
        speaking.send(Message::Binary(Bytes::from(vec![b's'; LARGE])))
    });
    let message = socket.read()?;
    sending.join().unwrap()?;
    socket.send(message)
}
