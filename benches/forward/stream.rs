//! A stream that sends all it can and then hears how much has come, in plain text or by TLS; and the files for the latter.

use crate::common::Result;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use socket_protector::net::endpoint::Connect;
use socket_protector::net::tls::{ClientIdentity, Got, Handshake, Session};
use socket2::Socket;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::path::Path;

/// What a session reads into.
const CIPHER: usize = 64 * 1024;

/// One stream.
pub struct Stream {
    socket: Socket,
    tls: Option<Session>,
    /// Bytes of the count that has come so far.
    heard: Vec<u8>,
}

/// Makes a key with its certificate, and the folder of the authority that it is believed by.
pub fn make_files(folder: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let own = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&own, &Issuer::new(params, key))?;
    fs::create_dir(folder.join("authorities"))?;
    fs::write(folder.join("authorities/root.pem"), authority)?;
    fs::write(folder.join("server.pem"), certificate.pem() + &own.serialize_pem())?;
    Ok(())
}

/// Who streams with TLS are, and whom they believe.
pub fn identity(folder: &str) -> Result<ClientIdentity> {
    let endpoint = format!("ssl:127.0.0.1:1:hostname=localhost:caCertsDir={folder}/authorities");
    let connect = endpoint.parse::<Connect>()?;
    Ok(ClientIdentity::load(connect.tls.as_ref().ok_or("no TLS")?, &connect.place)?)
}

impl Stream {
    /// Over a connected socket; with TLS its handshake is done when this returns.
    pub fn new(socket: Socket, identity: Option<&ClientIdentity>) -> Result<Stream> {
        let mut tls = identity.map(ClientIdentity::session).transpose()?;
        if let Some(session) = &mut tls {
            socket.set_nonblocking(false)?;
            while session.handshake(&mut &socket, &mut [0; CIPHER])? == Handshake::Blocked {}
            socket.set_nonblocking(true)?;
        }
        Ok(Stream { socket, tls, heard: Vec::new() })
    }

    /// Tells of its events with this number.
    pub fn watch(&self, epoll: &Epoll, interest: EpollFlags, number: usize) -> Result<()> {
        Ok(epoll.add(&self.socket, EpollEvent::new(interest, number as u64))?)
    }

    /// Writes what is taken.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if let Some(session) = &mut self.tls {
            return Ok(session.write(&mut &self.socket, bytes)?);
        }
        match self.socket.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => Ok(written?),
        }
    }

    /// Nothing more is sent; from now on it listens.
    pub fn end(&mut self, epoll: &Epoll, number: usize) -> Result<()> {
        if let Some(session) = &mut self.tls {
            self.socket.set_nonblocking(false)?;
            while !session.close_notify(&mut &self.socket)? {}
            self.socket.set_nonblocking(true)?;
        }
        self.socket.shutdown(Shutdown::Write)?;
        Ok(epoll.modify(&self.socket, &mut EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?)
    }

    /// How many bytes have arrived, once that was said; 0 when it cannot be said any more.
    pub fn count(&mut self) -> Option<u64> {
        let mut room = [0; 8];
        let read = match &mut self.tls {
            None => self.socket.read(&mut room),
            Some(session) => match session.read(&mut &self.socket, &mut room, &mut [0; CIPHER]) {
                Ok(Got::Plain { length, .. }) => Ok(length),
                Ok(Got::Closed) => Ok(0),
                Ok(Got::Blocked) => Err(ErrorKind::WouldBlock.into()),
                Err(_) => return Some(0),
            },
        };
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Ok(0) | Err(_) => Some(0),
            Ok(length) => {
                self.heard.extend(&room[..length]);
                self.heard.as_slice().try_into().ok().map(u64::from_le_bytes)
            }
        }
    }
}
