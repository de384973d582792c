//! WebSockets through the proxy, with a library at both ends: messages of all kinds, closes from both sides, many at once, and
//! what becomes of them at a restart.

use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::stage::{Proxy, Setup};
use crate::children::websocket::LARGE;
use crate::harness::process::{Census, census};
use crate::harness::{PATIENCE, trials, until};

trials![
    messages_of_all_kinds_pass_both_ways,
    a_close_of_either_side_arrives_with_its_code,
    two_hundred_at_once_carry_large_messages_both_ways,
    a_restart_ends_them_so_that_clients_notice,
];

/// What a server says to the key below.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MANY: usize = 200;

fn setup() -> Setup {
    let accept = format!(
        "send HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\
         Sec-WebSocket-Accept: {ACCEPT}\\r\\n\\r\\n\nwebsocket"
    );
    Setup::new().script("ws", &accept)
}

/// Opens one as browsers do.
#[track_caller]
fn open(proxy: &Proxy) -> WebSocket<TcpStream> {
    let mut client = proxy.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Origin: http://localhost\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.head();
    assert_eq!((head.status, head.field("sec-websocket-accept")), (101, Some(ACCEPT)), "{}", head.text);
    WebSocket::from_raw_socket(client.into_stream(), Role::Client, None)
}

/// Another reader or writer of the same one.
fn beside(socket: &WebSocket<TcpStream>) -> WebSocket<TcpStream> {
    WebSocket::from_raw_socket(socket.get_ref().try_clone().unwrap(), Role::Client, None)
}

/// The close that comes, and then the end of the connection; which is then closed on our side, too.
#[track_caller]
fn closed(mut socket: WebSocket<TcpStream>) -> Option<CloseFrame> {
    let Message::Close(farewell) = socket.read().unwrap() else { panic!("this is no close") };
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "the connection ends behind it");
    farewell
}

/// Waits until the proxy has no more than it had before, when a connection of another client may have been on its way out.
#[track_caller]
fn nothing_left(proxy: &Proxy, before: &Census) {
    until("nothing is left of them", PATIENCE, || {
        let now = census(proxy.pid());
        let no_more = |(kind, count): (&String, &usize)| before.descriptors.get(kind).is_some_and(|had| count <= had);
        if now.descriptors.iter().all(no_more) && now.children == before.children {
            Ok(())
        } else {
            Err(format!("{now:?}, and before {before:?}"))
        }
    });
}

fn messages_of_all_kinds_pass_both_ways() {
    let proxy = setup().start();
    proxy.wait_version("1");
    let mut socket = open(&proxy);
    // Lengths on both sides of each form that a length has in a frame.
    for length in [0, 1, 125, 126, 65_535, 65_536, LARGE] {
        for message in [Message::text("x".repeat(length)), Message::binary(vec![0xff; length])] {
            let (sent, mut reader) = (message.clone(), beside(&socket));
            thread::scope(|scope| {
                scope.spawn(|| socket.send(sent).unwrap());
                assert!(reader.read().unwrap() == message, "{length} bytes come back");
            });
        }
    }
    socket.send(Message::Ping("here?".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("here?".into()));
    socket.send(Message::text("ask")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Ping("there?".into()));
    assert_eq!(socket.read().unwrap(), Message::text("pong 6"));
}

fn a_close_of_either_side_arrives_with_its_code() {
    let proxy = setup().start();
    proxy.wait_version("1");
    let before = census(proxy.pid());
    let mut socket = open(&proxy);
    socket.send(Message::text("close")).unwrap();
    let farewell = closed(socket).unwrap();
    assert_eq!((farewell.code, farewell.reason.as_str()), (CloseCode::Library(4001), "as you say"));
    let mut socket = open(&proxy);
    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).unwrap();
    assert_eq!(closed(socket).unwrap().code, CloseCode::Away, "it is answered with the same");
    // One that is gone without a word leaves nothing behind either.
    drop(open(&proxy));
    nothing_left(&proxy, &before);
}

fn two_hundred_at_once_carry_large_messages_both_ways() {
    let proxy = setup().start();
    proxy.wait_version("1");
    let before = census(proxy.pid());
    let all_open = Barrier::new(MANY);
    thread::scope(|scope| {
        for number in 0..MANY {
            let (proxy, all_open) = (&proxy, &all_open);
            scope.spawn(move || {
                let mut socket = open(proxy);
                all_open.wait();
                let ours = Bytes::from(vec![u8::try_from(number).unwrap(); LARGE]);
                let (mut writer, sent) = (beside(&socket), ours.clone());
                let writing = thread::spawn(move || {
                    writer.send(Message::text("both")).unwrap();
                    writer.send(Message::Binary(sent)).unwrap();
                });
                let theirs = socket.read().unwrap().into_data();
                assert!(theirs.len() == LARGE && theirs.iter().all(|byte| *byte == b's'), "the server's own");
                assert!(socket.read().unwrap().into_data() == ours, "and what came back of {number}");
                writing.join().unwrap();
                socket.close(None).unwrap();
                closed(socket);
            });
        }
    });
    nothing_left(&proxy, &before);
}

fn a_restart_ends_them_so_that_clients_notice() {
    for setup in [setup().fixed(), setup(), setup().with(&["--overlap", "--stop-timeout", "300ms"])] {
        let proxy = setup.start();
        proxy.wait_version("1");
        let before = census(proxy.pid());
        let mut sockets: Vec<_> = (0..MANY).map(|_| open(&proxy)).collect();
        proxy.change("2");
        proxy.wait_version("2");
        for socket in &mut sockets {
            // It would be an error of another kind if nothing came for long.
            match socket.read() {
                Err(Error::Protocol(_) | Error::ConnectionClosed) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                other => panic!("the connection has not ended: {other:?}"),
            }
        }
        let mut socket = open(&proxy);
        socket.send(Message::text("again")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("again"));
        socket.close(None).unwrap();
        closed(socket);
        drop(sockets);
        nothing_left(&proxy, &before);
    }
}
