//! Who we are to destinations, and which of them we believe.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use super::certificate::{self, Moment, Places};
use super::error::{LoadError, Remark};
use super::rotation::{Refresh, Rotating};
use super::session::{Session, SessionError};
use super::{protocols, provider, roots};
use crate::net::endpoint::{ClientTls, Host, Peer};

/// How a destination is known, and what we show it. A destination's certificate is always checked: its name, its
/// time, and its way to an authority that is believed.
#[derive(Debug)]
pub struct ClientIdentity {
    tls: ClientTls,
    name: ServerName<'static>,
    loaded: Rotating<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ClientConfig>,
    /// Of our certificate, if we have one.
    expires: Option<Moment>,
    remarks: Vec<Arc<Remark>>,
}

impl ClientIdentity {
    /// Reads the files, whose paths are absolute: not for a thread that serves connections. The name to check is that
    /// of the place, unless `tls` has one.
    ///
    /// # Errors
    /// No authority to believe, a name that no certificate can have, and what [`super::ServerIdentity::load`] refuses.
    pub fn load(tls: &ClientTls, place: &Peer) -> Result<Self, LoadError> {
        let name = server_name(tls, place)?;
        let all = tls.ca_certs_dir.iter().chain(&tls.cert_key).chain(&tls.private_key);
        let loaded = Rotating::load(all.map(PathBuf::from).collect(), || Loaded::read(tls))?;
        Ok(Self { tls: tls.clone(), name, loaded })
    }

    /// A new connection's state. Reads no file.
    ///
    /// # Errors
    /// None that a loaded identity is known to have.
    pub fn session(&self) -> Result<Session, SessionError> {
        let connection = ClientConnection::new(self.loaded.current().config.clone(), self.name.clone());
        Ok(Session::new(connection.map_err(SessionError::setup)?.into()))
    }

    /// The same for loops of others, which make their own state of it, and the name that is checked. Reads no file.
    pub fn config(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (self.loaded.current().config.clone(), self.name.clone())
    }

    /// The end of our own certificate's time, if we have one.
    pub fn expires(&self) -> Option<Moment> {
        self.loaded.current().expires
    }

    /// What to warn of.
    pub fn remarks(&self) -> Vec<Arc<Remark>> {
        self.loaded.current().remarks.clone()
    }

    /// Looks at the files: not for a thread that serves connections. Running sessions stay as they are.
    pub fn refresh(&self) -> Refresh {
        match self.loaded.refresh(|| Loaded::read(&self.tls)) {
            None => Refresh::Unchanged,
            Some(Ok(new)) => Refresh::Swapped { expires: new.expires, remarks: new.remarks.clone() },
            Some(Err(error)) => Refresh::Kept(error),
        }
    }
}

/// What the destination's certificate must be for.
fn server_name(tls: &ClientTls, place: &Peer) -> Result<ServerName<'static>, LoadError> {
    let name = match (&tls.hostname, place) {
        (Some(name), _) => name.clone(),
        (None, Peer::Tcp(to)) => match &to.host {
            Host::Name(name) => name.clone(),
            Host::V4(address) => return Ok(IpAddr::V4(*address).into()),
            Host::V6 { address, .. } => return Ok(IpAddr::V6(*address).into()),
        },
        // Not written so by the grammar, and no name.
        (None, Peer::Unix(_)) => String::new(),
    };
    ServerName::try_from(name.clone()).map_err(|source| LoadError::Name { name, source })
}

impl Loaded {
    fn read(tls: &ClientTls) -> Result<Self, LoadError> {
        let authorities = match &tls.ca_certs_dir {
            Some(path) => roots::in_folder(Path::new(path))?,
            None => roots::of_the_platform()?,
        };
        let mut remarks = authorities.remarks;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(|source| LoadError::Setup { source })?;
        let builder = builder.with_root_certificates(authorities.store);
        let (mut config, expires) = match &tls.cert_key {
            None => (builder.with_no_client_auth(), None),
            Some(certificate) => {
                // One file may hold both.
                let key = Path::new(tls.private_key.as_ref().unwrap_or(certificate));
                let checked = certificate::checked(Places { certificate: Path::new(certificate), key, chain: None })?;
                remarks.extend(checked.remarks);
                let own = Arc::new(SingleCertAndKey::from(checked.certified));
                (builder.with_client_cert_resolver(own), Some(checked.expires))
            }
        };
        config.alpn_protocols = protocols(&tls.alpn)?;
        let remarks = remarks.into_iter().map(Arc::new).collect();
        Ok(Self { config: Arc::new(config), expires, remarks })
    }
}
