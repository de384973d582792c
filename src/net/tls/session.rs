//! One connection's TLS, driven by whoever owns the socket, and never waiting.
//!
//! The socket is non-blocking and watched elsewhere. Each call does what can be done now. Plaintext and ciphertext go
//! through buffers of the caller, so a session at rest holds none of its own; what it holds for a peer that does not
//! read is bounded by [`HELD`].

mod error;

use std::io::{self, Read, Write};

use rustls::Connection;

pub use self::error::SessionError;

/// Most plaintext that is taken before the socket has taken what came before it.
const HELD: usize = 64 * 1024;

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// Complete. What the peer sent right behind it may be here already: read at once. The last of ours may be here
    /// still, which [`Session::wants_write`] tells.
    Done,
    /// The socket has nothing, or takes nothing, at present.
    Blocked,
}

/// What a read has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// Plaintext.
    Plain {
        /// Its bytes, at the start of the caller's buffer.
        length: usize,
        /// There may be more: read again. If not, the socket had less than there was room for, so it will tell when it
        /// has more; only its end may have come along with what it had.
        more: bool,
    },
    /// The peer has ended its direction by the book; ours goes on.
    Closed,
    /// The socket has nothing at present.
    Blocked,
}

/// The TLS state of one connection, server's or client's.
#[derive(Debug)]
pub struct Session {
    pub(super) connection: Connection,
    /// Ciphertext that was read from the socket while the plaintext of what came before had no room. Mostly empty, and
    /// then without memory.
    pub(super) ahead: Vec<u8>,
    /// What is to be said when all plaintext before it has been handed out.
    failure: Option<SessionError>,
    /// The first byte of the handshake, by which another protocol is known.
    first: Option<u8>,
    /// Our direction has been ended by the book.
    ended: bool,
}

impl Session {
    pub(super) fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(Some(HELD));
        Self { connection, ahead: Vec::new(), failure: None, first: None, ended: false }
    }

    /// Drives the handshake as far as the socket goes. `scratch` is room for ciphertext, its content without meaning
    /// before and after.
    ///
    /// # Errors
    /// The peer is not who it should be, or speaks no TLS, or left. The alert that tells it so has been written, if
    /// the socket took it.
    pub fn handshake(&mut self, io: &mut (impl Read + Write), scratch: &mut [u8]) -> Result<Handshake, SessionError> {
        loop {
            // Not all out is no reason not to read: both sides could be waiting for that.
            if let Err(error) = self.flush(io) {
                return Err(self.reason(io, scratch).unwrap_or(error));
            }
            if !self.connection.is_handshaking() {
                return Ok(Handshake::Done);
            }
            match self.advance(io, &mut [], scratch)? {
                Advance::Fed { .. } => {}
                Advance::Blocked => return Ok(Handshake::Blocked),
                Advance::End => return Err(SessionError::Left),
            }
        }
    }

    /// Reads plaintext into `plain`, which is not empty; `scratch` as for the handshake, and best not smaller than a
    /// TLS record, 16 KiB.
    ///
    /// # Errors
    /// What was received in order is handed out before. [`SessionError::Truncated`] is an end that an attacker could
    /// have made.
    pub fn read(
        &mut self,
        io: &mut (impl Read + Write),
        plain: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<Got, SessionError> {
        debug_assert!(!plain.is_empty() && !scratch.is_empty(), "there is no room to read into");
        let mut length = 0;
        let mut more = true;
        while length < plain.len() {
            match self.take(&mut plain[length..]) {
                Taken::Plain(taken) => {
                    length += taken;
                    continue;
                }
                Taken::Closed if length == 0 => return Ok(Got::Closed),
                Taken::Closed => {
                    more = true;
                    break;
                }
                Taken::Nothing => {}
            }
            match self.failure.take() {
                Some(failure) if length == 0 => return Err(failure),
                Some(failure) => {
                    self.failure = Some(failure);
                    more = true;
                    break;
                }
                // With nothing in hand the socket itself has to say that it is empty: what is there may be its end.
                None if !more && length > 0 => break,
                None => {}
            }
            match self.advance(io, &mut plain[length..], scratch) {
                Ok(Advance::Fed { decrypted, full }) => {
                    length += decrypted;
                    more = full || !self.ahead.is_empty();
                }
                Ok(Advance::Blocked) => {
                    more = false;
                    break;
                }
                Ok(Advance::End) => self.failure = Some(SessionError::Truncated),
                Err(failure) => self.failure = Some(failure),
            }
        }
        // Answers of the protocol itself, as to a change of keys. If the socket takes none, writing will tell.
        drop(self.flush(io));
        if length == 0 { Ok(Got::Blocked) } else { Ok(Got::Plain { length, more: more || length == plain.len() }) }
    }

    /// Takes plaintext to send; how many bytes of it, which is 0 only if the socket takes nothing at present. What is
    /// taken and not sent is in here, which [`Self::wants_write`] tells.
    ///
    /// # Errors
    /// The socket's, those of a session that has failed, and a broken pipe if our direction was ended.
    pub fn write(&mut self, io: &mut impl Write, plain: &[u8]) -> Result<usize, SessionError> {
        // The library would take it, and the peer ignore it.
        if self.ended {
            return Err(SessionError::io(io::ErrorKind::BrokenPipe.into()));
        }
        let mut taken = 0;
        while self.flush(io)? && taken < plain.len() {
            let count = self.connection.writer().write(&plain[taken..]).map_err(SessionError::io)?;
            if count == 0 {
                break;
            }
            taken += count;
        }
        Ok(taken)
    }

    /// Sends what is in here; whether all of it is out.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self, io: &mut impl Write) -> Result<bool, SessionError> {
        while self.connection.wants_write() {
            match self.connection.write_tls(io) {
                Ok(0) => return Err(SessionError::io(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SessionError::io(error)),
            }
        }
        Ok(true)
    }

    /// Ends our direction by the book; whether that is out, and with it all that was written before. If not,
    /// [`Self::flush`] goes on. The socket's own end of file comes after it.
    ///
    /// # Errors
    /// The socket's.
    pub fn close_notify(&mut self, io: &mut impl Write) -> Result<bool, SessionError> {
        self.ended = true;
        self.connection.send_close_notify();
        self.flush(io)
    }

    /// Whether the handshake is still to be completed.
    pub fn handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether something waits for the socket to take it.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// The application protocol agreed on, once the handshake is complete.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// The name that a client asked for. RFC 6066, section 3.
    pub fn server_name(&self) -> Option<&str> {
        match &self.connection {
            Connection::Server(connection) => connection.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// Plaintext that is decrypted already.
    fn take(&mut self, plain: &mut [u8]) -> Taken {
        match self.connection.reader().read(plain) {
            Ok(0) => Taken::Closed,
            Ok(length) => Taken::Plain(length),
            // Nothing yet; or an end of file, which `advance` has told.
            Err(_) => Taken::Nothing,
        }
    }

    /// Reads from the socket once, or takes what was read ahead, and decrypts into `plain` what finds room.
    fn advance(
        &mut self,
        io: &mut (impl Read + Write),
        plain: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<Advance, SessionError> {
        let mut full = true;
        let length = if self.ahead.is_empty() {
            match read_some(io, scratch) {
                Ok(Some(0)) => return Ok(Advance::End),
                Ok(Some(length)) => {
                    full = length == scratch.len();
                    length
                }
                Ok(None) => return Ok(Advance::Blocked),
                Err(error) => return Err(SessionError::io(error)),
            }
        } else {
            let length = self.ahead.len().min(scratch.len());
            scratch[..length].copy_from_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            length
        };
        let mut cipher = &scratch[..length];
        self.first = self.first.or_else(|| cipher.first().copied());
        let decrypted = match self.decrypt(&mut cipher, plain) {
            Ok(decrypted) => decrypted,
            Err((0, failure)) => return Err(self.alerted(io, failure)),
            Err((decrypted, failure)) => {
                self.failure = Some(self.alerted(io, failure));
                decrypted
            }
        };
        if cipher.is_empty() {
            if self.ahead.is_empty() {
                self.ahead = Vec::new();
            }
        } else {
            self.ahead.splice(..0, cipher.iter().copied());
        }
        Ok(Advance::Fed { decrypted, full })
    }

    /// Why the peer takes nothing more: the alert that it sent before it left, if there is one.
    fn reason(&mut self, io: &mut (impl Read + Write), scratch: &mut [u8]) -> Option<SessionError> {
        loop {
            match self.advance(io, &mut [], scratch) {
                Ok(Advance::Fed { .. }) if self.ahead.is_empty() => {}
                Ok(_) => return None,
                Err(error) => return Some(error).filter(|error| !matches!(error, SessionError::Io { .. })),
            }
        }
    }

    /// Decrypts until the ciphertext is used up or, behind the handshake, `plain` is full. A failure comes with what
    /// was decrypted before it.
    fn decrypt(&mut self, cipher: &mut &[u8], plain: &mut [u8]) -> Result<usize, (usize, rustls::Error)> {
        let mut length = 0;
        while !cipher.is_empty() && (length < plain.len() || self.connection.is_handshaking()) {
            // The session's buffer has room for a part of any record, and its plaintext was taken out.
            match self.connection.read_tls(cipher) {
                // Behind the peer's end nothing has a meaning.
                Ok(0) => *cipher = &[],
                Ok(_) => {}
                Err(error) => return Err((length, rustls::Error::General(error.to_string()))),
            }
            let processed = self.connection.process_new_packets();
            if let Taken::Plain(taken) = self.take(&mut plain[length..]) {
                length += taken;
            }
            if let Err(failure) = processed {
                *cipher = &[];
                return Err((length, failure));
            }
        }
        Ok(length)
    }

    /// Sends the alert that goes with a failure, as far as the socket takes it.
    fn alerted(&mut self, io: &mut impl Write, failure: rustls::Error) -> SessionError {
        drop(self.flush(io));
        SessionError::tls(failure, self.connection.is_handshaking(), self.first)
    }
}

/// What plaintext there is.
enum Taken {
    Plain(usize),
    Closed,
    Nothing,
}

/// What came of going on.
enum Advance {
    /// Ciphertext was taken in.
    Fed { decrypted: usize, full: bool },
    /// There is none at present.
    Blocked,
    /// There will be none.
    End,
}

/// The bytes that the socket has, 0 for its end, nothing if it has none at present.
fn read_some(io: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match io.read(buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
