//! What sessions are connected to in these trials: threads of the test, which end with it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Serves each connection in a thread of its own.
pub(super) fn serve(mut each: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| each(stream.unwrap())));
    address
}

/// Lines in, lines out, and no echo, as old services speak: `flood N` answers N numbered lines, `quit` ends, and all else
/// is said again. No telnet.
pub(super) fn lines() -> SocketAddr {
    serve(|stream| {
        std::thread::spawn(move || speak(stream, |_| {}));
    })
}

/// The same as telnet, and `secret` asks for a password: it takes the echo over meanwhile, so that nobody echoes it.
pub(super) fn telnet_lines() -> SocketAddr {
    serve(|stream| {
        std::thread::spawn(move || {
            speak(stream, |stream| {
                // WILL SUPPRESS-GO-AHEAD: so it is telnet.
                stream.write_all(&[255, 251, 3]).unwrap();
            })
        });
    })
}

/// A failure means that the other side has gone, which ends it.
fn speak(mut stream: TcpStream, begin: impl Fn(&mut TcpStream)) {
    begin(&mut stream);
    let mut lines = BufReader::new(stream.try_clone().unwrap()).split(b'\n');
    let mut next = move || {
        // What the other side says about options is not looked at.
        let line = lines.next()?.ok()?;
        let letters = line.into_iter().filter(|byte| (b' '..127).contains(byte));
        Some(String::from_utf8(letters.collect()).unwrap())
    };
    if stream.write_all(b"welcome\r\n").is_err() {
        return;
    }
    while let Some(line) = next() {
        let words: Vec<_> = line.split(' ').collect();
        let said = match words[..] {
            ["quit"] => return,
            ["flood", count] => {
                let count: u64 = count.parse().unwrap();
                (1..=count).flat_map(|number| format!("line {number}\r\n").into_bytes()).collect()
            }
            ["secret"] => {
                // WILL ECHO
                stream.write_all(b"Password: \xff\xfb\x01").unwrap();
                let Some(secret) = next() else { return };
                // WONT ECHO
                [b"\xff\xfc\x01\r\n", format!("it has {} letters\r\n", secret.len()).as_bytes()].concat()
            }
            _ => format!("you said: {line}\r\n").into_bytes(),
        };
        if stream.write_all(&said).is_err() {
            return;
        }
    }
}
