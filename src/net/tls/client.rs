//! Who we are to destinations, and which of them we believe.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

use super::certificate::{self, Moment, Places};
use super::error::{LoadError, Remark};
use super::rotation::{Refresh, Rotating};
use super::session::{Session, SessionError};
use super::{protocols, provider, roots};

/// What a TLS connection to a destination needs besides its address; absolute paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The name that the destination's certificate must have; `None` is the host that is connected to.
    pub hostname: Option<String>,
    /// A folder whose `*.pem` are believed in place of the host's authorities.
    pub ca_certs_dir: Option<PathBuf>,
    /// Our certificate and its chain, if the destination asks for one; alone, the key is in it too.
    pub cert_key: Option<PathBuf>,
    /// Its private key; alone, the certificate is in it too.
    pub private_key: Option<PathBuf>,
    /// Application protocols, the preferred one first.
    pub alpn: Vec<String>,
}

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
    /// Reads the files: not for a thread that serves connections. `host` is what is connected to, without brackets.
    ///
    /// # Errors
    /// No authority to believe, a name that no certificate can have, and what [`super::ServerIdentity::load`] refuses.
    pub fn load(tls: &ClientTls, host: &str) -> Result<Self, LoadError> {
        let name = tls.hostname.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|source| LoadError::Name { name: name.to_owned(), source })?;
        let all = tls.ca_certs_dir.iter().chain(&tls.cert_key).chain(&tls.private_key);
        let loaded = Rotating::load(all.cloned().collect(), || Loaded::read(tls))?;
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

impl Loaded {
    fn read(tls: &ClientTls) -> Result<Self, LoadError> {
        let authorities = match &tls.ca_certs_dir {
            Some(path) => roots::in_folder(path)?,
            None => roots::of_the_platform()?,
        };
        let mut remarks = authorities.remarks;
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(|source| LoadError::Setup { source })?;
        let builder = builder.with_root_certificates(authorities.store);
        let own = match (&tls.cert_key, &tls.private_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(both), None) | (None, Some(both)) => Some((both, both)),
        };
        let (mut config, expires) = match own {
            None => (builder.with_no_client_auth(), None),
            Some((certificate, key)) => {
                let pair = certificate::pair(Places { certificate, key, chain: None })?;
                remarks.extend(pair.remarks);
                let own = Arc::new(SingleCertAndKey::from(pair.certified));
                (builder.with_client_cert_resolver(own), Some(pair.expires))
            }
        };
        config.alpn_protocols = protocols(&tls.alpn)?;
        let remarks = remarks.into_iter().map(Arc::new).collect();
        Ok(Self { config: Arc::new(config), expires, remarks })
    }
}
