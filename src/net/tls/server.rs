//! Who we are to clients that connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection};

use super::certificate::{self, Moment, Places};
use super::error::{LoadError, Remark};
use super::rotation::{Refresh, Rotating};
use super::session::{Session, SessionError};
use super::{protocols, provider, roots};
use crate::net::endpoint::ServerFiles;

/// A server's key and certificates, checked, and checked again when their files change.
#[derive(Debug)]
pub struct ServerIdentity {
    files: ServerFiles,
    loaded: Rotating<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    expires: Moment,
    remarks: Vec<Arc<Remark>>,
}

impl ServerIdentity {
    /// Reads the files, whose paths are absolute: not for a thread that serves connections.
    ///
    /// # Errors
    /// A file that cannot be read, the key of another certificate, a certificate that is not in its time.
    pub fn load(files: &ServerFiles) -> Result<Self, LoadError> {
        let chain = files.extra_cert_chain.iter();
        let all = [&files.private_key].into_iter().chain(&files.cert_key).chain(chain).chain(&files.client_cas);
        let loaded = Rotating::load(all.map(PathBuf::from).collect(), || Loaded::read(files))?;
        Ok(Self { files: files.clone(), loaded })
    }

    /// A new connection's state, under the certificate of this moment. Reads no file.
    ///
    /// # Errors
    /// None that a loaded identity is known to have.
    pub fn session(&self) -> Result<Session, SessionError> {
        let connection = ServerConnection::new(self.loaded.current().config.clone());
        Ok(Session::new(connection.map_err(SessionError::setup)?.into()))
    }

    /// The same for loops of others, which make their own state of it. Reads no file.
    #[cfg(feature = "http")]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.loaded.current().config.clone()
    }

    /// The end of the certificate's time.
    pub fn expires(&self) -> Moment {
        self.loaded.current().expires
    }

    /// What to warn of.
    pub fn remarks(&self) -> Vec<Arc<Remark>> {
        self.loaded.current().remarks.clone()
    }

    /// Looks at the files: not for a thread that serves connections. Running sessions stay as they are.
    pub fn refresh(&self) -> Refresh {
        match self.loaded.refresh(|| Loaded::read(&self.files)) {
            None => Refresh::Unchanged,
            Some(Ok(new)) => Refresh::Swapped { expires: Some(new.expires), remarks: new.remarks.clone() },
            Some(Err(error)) => Refresh::Kept(error),
        }
    }
}

impl Loaded {
    fn read(files: &ServerFiles) -> Result<Self, LoadError> {
        let places = Places {
            // One file may hold both.
            certificate: Path::new(files.cert_key.as_ref().unwrap_or(&files.private_key)),
            key: Path::new(&files.private_key),
            chain: files.extra_cert_chain.as_deref().map(Path::new),
        };
        let own = certificate::checked(places)?;
        let mut remarks = own.remarks;
        let setup = |source| LoadError::Setup { source };
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(setup)?;
        let builder = match &files.client_cas {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let path = Path::new(path);
                let authorities = roots::at(path)?;
                remarks.extend(authorities.remarks);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities.store, provider()).build();
                let failed = |source| LoadError::ClientAuthorities { path: path.to_owned(), source };
                builder.with_client_cert_verifier(verifier.map_err(failed)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified)));
        config.alpn_protocols = protocols(&files.alpn)?;
        let remarks = remarks.into_iter().map(Arc::new).collect();
        Ok(Self { config: Arc::new(config), expires: own.expires, remarks })
    }
}
