//! Destinations: what a session leads to, each a thread for each connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{PATIENCE, until};

/// A destination that listens. It ends with this.
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Destination {
    /// One that treats each of its connections so.
    pub(super) fn new(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> Destination {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let closed = Arc::new(AtomicBool::new(false));
        let destination = Destination {
            address,
            accepted: Arc::clone(&accepted),
            open: Arc::clone(&open),
            closed: Arc::clone(&closed),
        };
        let treat = Arc::new(treat);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, treat, open) = (stream.unwrap(), Arc::clone(&treat), Arc::clone(&open));
                accepted.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    treat(stream);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        destination
    }

    /// One that says everything back, and ends when its input has.
    pub(super) fn echo() -> Destination {
        Destination::new(|stream| {
            let _ = std::io::copy(&mut &stream, &mut &stream);
        })
    }

    /// One that says so many bytes of the [pattern] as fast as they are taken, and ends.
    pub(super) fn says(length: u64) -> Destination {
        Destination::new(move |mut stream| {
            let mut at = 0;
            while at < length {
                let part = pattern(at, (length - at).min(32 * 1024) as usize);
                if stream.write_all(&part).is_err() {
                    return;
                }
                at += part.len() as u64;
            }
            // Whoever is there may still send.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("tcp:127.0.0.1:{}", self.address.port())
    }

    /// How many connections were made to it.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Waits until so many of its connections are open.
    #[track_caller]
    pub(super) fn wait_open(&self, count: usize) {
        until("the destination has as many connections as it should", PATIENCE, || {
            match self.open.load(Ordering::SeqCst) {
                open if open == count => Ok(()),
                open => Err(format!("{open}, and not {count}")),
            }
        });
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// Bytes of a stream without a short period, so that a shift shows.
pub(super) fn pattern(from: u64, length: usize) -> Vec<u8> {
    let byte = |offset: u64| (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (from..from + length as u64).map(byte).collect()
}

/// Reads to the end of file, or as far as it goes.
pub(super) fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}
