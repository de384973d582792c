//! What sessions lead to: it does what a connection asks for first, and echoes all that comes then. It prints its port, and ends
//! when its standard input does.

use crate::common::Result;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// How much it sends at a time.
const CHUNK: usize = 128 * 1024;
/// After so many bytes that it was sent it says one byte.
pub const BLOCK: u64 = 1 << 20;

/// What a connection asks for: a letter and a number.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// Only the echo.
    Echo,
    /// So many bytes first.
    Say(u64),
    /// So many blocks are only counted first, and each is answered by a byte.
    Count(u64),
}

impl Wish {
    pub fn to_bytes(self) -> [u8; 9] {
        let (letter, number) = match self {
            Wish::Echo => (b'e', 0),
            Wish::Say(count) => (b's', count),
            Wish::Count(blocks) => (b'c', blocks),
        };
        let mut bytes = [letter; 9];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn of(bytes: [u8; 9]) -> Wish {
        let [letter, number @ ..] = bytes;
        match (letter, u64::from_be_bytes(number)) {
            (b's', count) => Wish::Say(count),
            (b'c', blocks) => Wish::Count(blocks),
            _ => Wish::Echo,
        }
    }
}

/// Serves until its standard input ends.
pub fn run() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever leaves ends its thread by an error.
            thread::spawn(move || serve(stream).is_ok());
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut wish = [0; 9];
    stream.read_exact(&mut wish)?;
    let mut room = vec![b'x'; CHUNK];
    match Wish::of(wish) {
        Wish::Echo => {}
        Wish::Say(mut left) => {
            while left > 0 {
                let count = left.min(CHUNK as u64);
                stream.write_all(&room[..count as usize])?;
                left -= count;
            }
        }
        Wish::Count(blocks) => {
            let (mut count, mut answered) = (0, 0);
            while answered < blocks {
                count += match stream.read(&mut room)? {
                    0 => return Ok(()),
                    length => length as u64,
                };
                while answered < count / BLOCK {
                    stream.write_all(b"+")?;
                    answered += 1;
                }
            }
        }
    }
    loop {
        match stream.read(&mut room)? {
            0 => return Ok(()),
            length => stream.write_all(&room[..length])?,
        }
    }
}
