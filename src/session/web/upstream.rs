//! The connection to the server of sessions: over TCP, TLS or a unix socket, frames in and bytes out.

use crate::net::endpoint::{Connect, HostPort, Peer, UnixAddress};
use crate::net::tls::{ClientIdentity, LoadError};
use crate::session::client_state::Breach;
use crate::session::credential::RandomError;
use crate::session::frame::{Decoder, Frame};
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// How long connecting may take, the handshake of TLS included, unless the endpoint says otherwise.
const CONNECTS: Duration = Duration::from_secs(5);
/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Where the server of sessions is.
#[derive(Debug)]
pub struct Server {
    connect: Connect,
    identity: Option<ClientIdentity>,
}

/// Why the server could not be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection was made.
    #[error("cannot connect to the server of sessions at {server}")]
    Connect {
        /// Its endpoint.
        server: String,
        /// What the system or TLS said.
        source: io::Error,
    },
    /// The connection was made and has ended.
    #[error("lost the connection to the server of sessions at {server}")]
    Lost {
        /// Its endpoint.
        server: String,
        /// How.
        source: io::Error,
    },
    /// It said what it may not.
    #[error("the server of sessions is not understood")]
    Breach(#[from] Breach),
    /// It did not answer.
    #[error("the server of sessions did not answer in time")]
    Silent,
    /// No connection can be begun.
    #[error("cannot begin a connection to the server of sessions")]
    Random(#[from] RandomError),
}

/// What carries bytes both ways.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Server {
    /// Reads the files that its endpoint names, whose paths are absolute.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn new(connect: Connect) -> Result<Server, LoadError> {
        let identity = connect.tls.as_ref().map(|tls| ClientIdentity::load(tls, &connect.place)).transpose()?;
        Ok(Server { connect, identity })
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// None was made in time.
    pub async fn open(self: Arc<Self>) -> Result<Upstream, UpstreamError> {
        let limit = self.connect.timeout.unwrap_or(CONNECTS);
        let made = tokio::time::timeout(limit, self.wire()).await;
        let made = made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let server = self.connect.to_string();
        match made {
            Ok(wire) => {
                let (read, write) = tokio::io::split(wire);
                let bytes = Bytes { chunk: vec![0; CHUNK], read, write, out: Vec::new(), unflushed: false, server };
                Ok(Upstream { bytes, decoder: Decoder::new() })
            }
            Err(source) => Err(UpstreamError::Connect { server, source }),
        }
    }

    async fn wire(&self) -> io::Result<Box<dyn Wire>> {
        let stream: Box<dyn Wire> = match &self.connect.place {
            Peer::Tcp(place) => Box::new(tcp(place).await?),
            Peer::Unix(UnixAddress::Path(path)) => Box::new(UnixStream::connect(path).await?),
            Peer::Unix(UnixAddress::Abstract(name)) => {
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
                Box::new(UnixStream::connect_addr(&tokio::net::unix::SocketAddr::from(address)).await?)
            }
        };
        let Some(identity) = &self.identity else {
            return Ok(stream);
        };
        let (config, name) = identity.config();
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
    }
}

/// To the first of its addresses that wants us.
async fn tcp(place: &HostPort) -> io::Result<TcpStream> {
    let host = place.host.to_string();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its host has no address");
    for address in tokio::net::lookup_host((host.as_str(), place.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(own) = place.bind_address {
            socket.bind(SocketAddr::new(own, 0))?;
        }
        match socket.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A connection to the server.
pub struct Upstream {
    /// Its bytes.
    pub bytes: Bytes,
    decoder: Decoder,
}

/// The bytes of a connection.
pub struct Bytes {
    read: ReadHalf<Box<dyn Wire>>,
    write: WriteHalf<Box<dyn Wire>>,
    chunk: Vec<u8>,
    /// What is to be sent.
    pub out: Vec<u8>,
    unflushed: bool,
    server: String,
}

impl Upstream {
    /// Sends what is there to be sent until something is received, and gives its length. It may be dropped at any time.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn turn(&mut self) -> Result<usize, UpstreamError> {
        self.bytes.turn().await
    }

    /// Makes frames of what the last [turn](Upstream::turn) has received. What takes them says whether the server has
    /// proved itself by now.
    ///
    /// # Errors
    /// They are none, or the one who takes them says so.
    pub fn frames(
        &mut self,
        length: usize,
        mut take: impl FnMut(Frame<'_>, &mut Vec<u8>) -> Result<bool, Breach>,
    ) -> Result<(), UpstreamError> {
        let Bytes { chunk, out, .. } = &mut self.bytes;
        let mut rest = &chunk[..length];
        loop {
            let taken = self.decoder.feed(rest);
            rest = &rest[taken..];
            let mut any = false;
            while let Some(frame) = self.decoder.frame().map_err(Breach::Frame)? {
                any = true;
                if take(frame, out)? {
                    self.decoder.proved();
                }
            }
            if rest.is_empty() || (taken == 0 && !any) {
                return Ok(());
            }
        }
    }

    /// The bytes alone, for whoever passes them on. What was received so far has been made frames of.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl Bytes {
    /// As [`Upstream::turn`].
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn turn(&mut self) -> Result<usize, UpstreamError> {
        let Bytes { read, write, chunk, out, unflushed, server } = self;
        let lost = |source| UpstreamError::Lost { server: server.clone(), source };
        loop {
            let busy = *unflushed || !out.is_empty();
            tokio::select! {
                pushed = push(write, out, unflushed), if busy => pushed.map_err(lost)?,
                received = read.read(chunk) => match received.map_err(lost)? {
                    0 => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
                    count => return Ok(count),
                },
            }
        }
    }

    /// Sends all that is there to be sent.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn flush(&mut self) -> Result<(), UpstreamError> {
        let Bytes { write, out, server, .. } = self;
        let lost = |source| UpstreamError::Lost { server: server.clone(), source };
        write.write_all(out).await.map_err(lost)?;
        out.clear();
        write.flush().await.map_err(lost)
    }

    /// Its two directions, each for itself; what was to be sent is with neither.
    pub fn split(self) -> (Receiver, Sender) {
        let Bytes { read, write, chunk, .. } = self;
        (Receiver { read, chunk }, Sender { write })
    }
}

/// A step of sending. It may be dropped at any time.
async fn push(write: &mut WriteHalf<Box<dyn Wire>>, out: &mut Vec<u8>, unflushed: &mut bool) -> io::Result<()> {
    if out.is_empty() {
        write.flush().await?;
        *unflushed = false;
        return Ok(());
    }
    match write.write(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => {
            out.drain(..count);
            *unflushed = true;
            Ok(())
        }
    }
}

/// What the server sends.
pub struct Receiver {
    read: ReadHalf<Box<dyn Wire>>,
    chunk: Vec<u8>,
}

/// What the server is sent.
pub struct Sender {
    write: WriteHalf<Box<dyn Wire>>,
}

impl Receiver {
    /// What comes next; nothing at the end. It may be dropped at any time.
    ///
    /// # Errors
    /// Those of read(2) and TLS.
    pub async fn next(&mut self, most: usize) -> io::Result<&[u8]> {
        let most = most.min(self.chunk.len());
        let count = self.read.read(&mut self.chunk[..most]).await?;
        Ok(&self.chunk[..count])
    }
}

impl Sender {
    /// Sends all of it.
    ///
    /// # Errors
    /// Those of write(2) and TLS.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }
}
