//! Certificates made on the spot, and both ends of a connection in one thread.

mod files;
mod handshake;
mod keys;
mod names;
mod openssl;
mod rotation;
mod stream;
mod walk;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::*;
use crate::net::endpoint::{ClientTls, Host, HostPort, Peer, ServerFiles};

/// An authority of its own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
struct Made {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a name, in its time.
    fn make(&self, name: &str) -> Made {
        self.make_with(name, |_| {})
    }

    fn make_with(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Made {
        let key = KeyPair::generate().unwrap();
        Made { certificate: self.certify(name, &key, change), key: key.serialize_pem() }
    }

    fn certify(&self, name: &str, key: &KeyPair, change: impl Fn(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// One below this one, with its own certificate.
    fn below(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 2, 3);
}

/// A folder with one authority, whose certificate is in `authorities/root.pem`.
struct Folder {
    folder: TempDir,
    authority: Authority,
}

impl Folder {
    fn new() -> Self {
        let this = Self { folder: TempDir::new().unwrap(), authority: Authority::new("our authority") };
        fs::create_dir(this.path("authorities")).unwrap();
        this.write("authorities/root.pem", &this.authority.pem);
        this
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.path().display())
    }

    /// Writes a file that its owner alone can read.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// `NAME.key` and `NAME.crt`.
    fn files(&self, name: &str, made: &Made) -> ServerFiles {
        ServerFiles {
            private_key: self.write(&format!("{name}.key"), &made.key),
            cert_key: Some(self.write(&format!("{name}.crt"), &made.certificate)),
            extra_cert_chain: None,
            client_cas: None,
            alpn: Vec::new(),
        }
    }

    /// A server with a certificate for `localhost`.
    fn server_files(&self) -> ServerFiles {
        self.files("server", &self.authority.make("localhost"))
    }

    fn server(&self) -> ServerIdentity {
        ServerIdentity::load(&self.server_files()).unwrap()
    }

    /// A client that believes our authority.
    fn client_tls(&self) -> ClientTls {
        ClientTls { ca_certs_dir: Some(self.path("authorities")), ..ClientTls::default() }
    }

    fn client(&self) -> ClientIdentity {
        client_of(&self.client_tls(), "localhost").unwrap()
    }
}

/// What a client needs for the port 443 of this host.
fn client_of(tls: &ClientTls, host: &str) -> Result<ClientIdentity, LoadError> {
    let host = match host.parse() {
        Ok(IpAddr::V4(address)) => Host::V4(address),
        Ok(IpAddr::V6(address)) => Host::V6 { address, zone: Some("eth0".to_owned()) },
        Err(_) => Host::Name(host.to_owned()),
    };
    ClientIdentity::load(tls, &Peer::Tcp(HostPort { host, port: 443, bind_address: None, prefer: None }))
}

/// A client of plain rustls with these versions and protocols, that believes our authority.
fn other_client(folder: &Folder, versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&str]) -> Session {
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let store = roots::at(Path::new(&folder.path("authorities"))).unwrap().store;
    let mut config = builder.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    Session::new(rustls::ClientConnection::new(Arc::new(config), name).unwrap().into())
}

/// One end: a session and its socket, which passes at most so many bytes at a time.
struct End {
    session: Session,
    socket: Portioned,
    scratch: Vec<u8>,
}

struct Portioned {
    socket: UnixStream,
    most: usize,
    /// Bytes that it has taken.
    written: usize,
}

impl Read for Portioned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.most.min(buffer.len());
        self.socket.read(&mut buffer[..most])
    }
}

impl Write for Portioned {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.socket.write(&buffer[..self.most.min(buffer.len())])?;
        self.written += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both ends' sockets, non-blocking.
fn sockets() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

/// A server's and a client's end, connected.
fn ends(server: &ServerIdentity, client: &ClientIdentity) -> (End, End) {
    let (here, there) = sockets();
    (End::new(server.session().unwrap(), here), End::new(client.session().unwrap(), there))
}

/// As `ends`, with the handshake complete on both sides.
fn connected(server: &ServerIdentity, client: &ClientIdentity) -> (End, End) {
    let (mut server, mut client) = ends(server, client);
    let (one, other) = shake(&mut server, &mut client);
    one.unwrap();
    other.unwrap();
    (server, client)
}

/// Both sides until each is done or has failed; who has failed closes.
fn shake(server: &mut End, client: &mut End) -> (Result<(), SessionError>, Result<(), SessionError>) {
    let (mut one, mut other) = (None, None);
    for _ in 0..10_000 {
        server.step(&mut one);
        client.step(&mut other);
        (one, other) = match (one, other) {
            (Some(one), Some(other)) => return (one, other),
            unfinished => unfinished,
        };
    }
    panic!("the handshake goes on for ever: server {one:?}, client {other:?}");
}

impl End {
    fn new(session: Session, socket: UnixStream) -> Self {
        Self { session, socket: Portioned { socket, most: usize::MAX, written: 0 }, scratch: vec![0; 20_000] }
    }

    fn step(&mut self, result: &mut Option<Result<(), SessionError>>) {
        if let Some(result) = result {
            // The last of the handshake may still be in here.
            if result.is_ok() && self.session.wants_write() {
                drop(self.session.flush(&mut self.socket));
            }
            return;
        }
        match self.session.handshake(&mut self.socket, &mut self.scratch) {
            Ok(Handshake::Blocked) => {}
            Ok(Handshake::Done) => *result = Some(Ok(())),
            Err(error) => {
                *result = Some(Err(error));
                self.leave();
            }
        }
    }

    fn read(&mut self, plain: &mut [u8]) -> Result<Got, SessionError> {
        self.session.read(&mut self.socket, plain, &mut self.scratch)
    }

    /// All that is there, up to an end that is by the book (true) or until there is no more for now (false).
    fn read_all(&mut self) -> Result<(Vec<u8>, bool), SessionError> {
        let mut all = Vec::new();
        let mut plain = vec![0; 10_000];
        loop {
            match self.read(&mut plain)? {
                Got::Plain { length, .. } => all.extend(&plain[..length]),
                Got::Closed => return Ok((all, true)),
                Got::Blocked => return Ok((all, false)),
            }
        }
    }

    fn write(&mut self, plain: &[u8]) -> Result<usize, SessionError> {
        self.session.write(&mut self.socket, plain)
    }

    fn close_notify(&mut self) -> bool {
        self.session.close_notify(&mut self.socket).unwrap()
    }

    /// Closes the socket for both directions, as the end of a program does.
    fn leave(&mut self) {
        self.socket.socket.shutdown(Shutdown::Both).unwrap();
    }
}

/// The whole chain of an error.
fn said(error: &dyn std::error::Error) -> String {
    crate::chain(error)
}

/// What loading these files is refused with.
fn refused(files: &ServerFiles) -> String {
    said(&ServerIdentity::load(files).expect_err("these files are no good"))
}
