//! The server behind the forwarder: a sink that counts what a connection brings and says the count at its end, and an
//! echo. It prints their ports, and ends when its standard input does. At a port that it is given there is a sink, for as
//! long as it is not killed.

use crate::common::Result;
use crate::common::machine::raise_open_files;
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

const SINK: u64 = u64::MAX;
const ECHO: u64 = u64::MAX - 1;
const STDIN: u64 = u64::MAX - 2;

struct Connection {
    socket: Socket,
    /// The bytes that came, if they are only counted.
    count: Option<u64>,
}

/// Serves until its standard input ends; or a sink at this port.
pub fn run(at: Option<u16>) -> Result<()> {
    raise_open_files()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let sink = listener(&epoll, SINK, at.unwrap_or(0))?;
    let echo = listener(&epoll, ECHO, 0)?;
    if at.is_none() {
        epoll.add(std::io::stdin(), EpollEvent::new(EpollFlags::EPOLLIN, STDIN))?;
    }
    println!("{} {}", port(&sink)?, port(&echo)?);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match epoll.wait(&mut events, PollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..count] {
            match event.data() {
                STDIN => return Ok(()),
                which @ (SINK | ECHO) => {
                    let (listener, count) = if which == SINK { (&sink, Some(0)) } else { (&echo, None) };
                    while let Ok((socket, _)) = listener.accept() {
                        socket.set_nonblocking(true)?;
                        socket.set_tcp_nodelay(true)?;
                        let slot = free.pop().unwrap_or_else(|| {
                            connections.push(None);
                            connections.len() - 1
                        });
                        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
                        connections[slot] = Some(Connection { socket, count });
                    }
                }
                slot => {
                    let slot = slot as usize;
                    if connections[slot].as_mut().is_some_and(|connection| !connection.go_on(&mut buffer)) {
                        connections[slot] = None;
                        free.push(slot);
                    }
                }
            }
        }
    }
}

impl Connection {
    /// Reads once; false when it is over.
    fn go_on(&mut self, buffer: &mut [u8]) -> bool {
        match (self.socket.read(buffer), &mut self.count) {
            (Ok(0), Some(count)) => {
                let _ = self.socket.write_all(&count.to_le_bytes());
                false
            }
            (Ok(0), None) => false,
            (Ok(length), Some(count)) => {
                *count += length as u64;
                true
            }
            (Ok(length), None) => self.socket.write_all(&buffer[..length]).is_ok(),
            (Err(error), _) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

fn listener(epoll: &Epoll, name: u64, port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(4096)?;
    epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, name))?;
    Ok(socket)
}

fn port(socket: &Socket) -> Result<u16> {
    Ok(socket.local_addr()?.as_socket().ok_or("no address")?.port())
}
