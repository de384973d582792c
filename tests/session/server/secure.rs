//! TLS for the other end, whichever that is: certificates made on the spot, and streams.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::harness::Scene;

/// A certificate for 127.0.0.1 from an authority of its own, and its files.
#[derive(Clone)]
pub(super) struct Certificate {
    roots: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Certificate {
    pub(super) fn new(scene: &Scene, name: &str) -> Certificate {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name = DistinguishedName::new();
        authority.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let roots = scene.path(&format!("{name}-roots"));
        std::fs::create_dir(&roots).unwrap();
        std::fs::write(roots.join("root.pem"), root.pem()).unwrap();
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![own.der().clone()];
        let server = server.with_no_client_auth().with_single_cert(chain, private).unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(root.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(trusted).with_no_client_auth();
        Certificate {
            roots,
            key: scene.write(&format!("{name}.key"), &key.serialize_pem()),
            certificate: scene.write(&format!("{name}.crt"), &own.pem()),
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    /// As a place to connect to.
    pub(super) fn destination(&self, address: SocketAddr) -> String {
        format!("tls:127.0.0.1:{}:trustRoots={}", address.port(), self.roots.display())
    }

    /// As a place to listen.
    pub(super) fn listen(&self, port: u16, interface: &str) -> String {
        let (key, certificate) = (self.key.display(), self.certificate.display());
        format!("ssl:{port}:privateKey={key}:certKey={certificate}:interface={interface}")
    }

    pub(super) fn accept(&self, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.server)).unwrap(), stream)
    }

    pub(super) fn connect(&self, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(&self.client), name).unwrap(), stream)
    }
}
