//! Keys and certificates of listeners and destinations: loaded before anything depends on them, and watched since.

use super::Driver;
use crate::forward::DriverError;
use crate::net::endpoint::{self, Connect, Listen, Peer};
use crate::net::tls::{ClientIdentity, ClientTls, Remark, ServerFiles, ServerIdentity};
use log::warn;
use std::path::PathBuf;
use std::sync::Arc;

impl Driver {
    /// Who we are at this listener, where TLS is spoken.
    pub(super) fn server_identity(&self, source: &Listen) -> Result<Option<Arc<ServerIdentity>>, DriverError> {
        let Listen::Tls(tls) = source.socket() else {
            return Ok(None);
        };
        let endpoint = source.to_string();
        let identity = ServerIdentity::load(&server_files(&tls.files));
        let identity = identity.map_err(|source| DriverError::Tls { endpoint: endpoint.clone(), source })?;
        warn_of(&endpoint, &identity.remarks());
        let identity = Arc::new(identity);
        self.trials.watch_server(endpoint, &identity);
        Ok(Some(identity))
    }

    /// Whom we believe at this destination, and who we are there, where TLS is spoken.
    pub(super) fn client_identity(
        &self,
        connect: &Connect,
        text: &str,
    ) -> Result<Option<Arc<ClientIdentity>>, DriverError> {
        let Some(tls) = &connect.tls else {
            return Ok(None);
        };
        let identity = ClientIdentity::load(&client_tls(tls), &host(connect));
        let identity = identity.map_err(|source| DriverError::Tls { endpoint: text.to_owned(), source })?;
        warn_of(text, &identity.remarks());
        let identity = Arc::new(identity);
        self.trials.watch_client(text.to_owned(), &identity);
        Ok(Some(identity))
    }
}

fn warn_of(endpoint: &str, remarks: &[Arc<Remark>]) {
    for remark in remarks {
        warn!("{endpoint}: {remark}");
    }
}

/// The host that a certificate must be for, unless another is named.
pub(in crate::forward) fn host(connect: &Connect) -> String {
    match &connect.place {
        Peer::Tcp(there) => there.host.to_string(),
        Peer::Unix(_) => String::new(),
    }
}

fn server_files(files: &endpoint::ServerFiles) -> ServerFiles {
    let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
    ServerFiles {
        private_key: PathBuf::from(&files.private_key),
        cert_key: path(&files.cert_key),
        extra_cert_chain: path(&files.extra_cert_chain),
        client_cas: path(&files.client_cas),
        alpn: files.alpn.clone(),
    }
}

/// In the terms of those who read the files.
pub(in crate::forward) fn client_tls(tls: &endpoint::ClientTls) -> ClientTls {
    let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
    ClientTls {
        hostname: tls.hostname.clone(),
        ca_certs_dir: path(&tls.ca_certs_dir),
        cert_key: path(&tls.cert_key),
        private_key: path(&tls.private_key),
        alpn: tls.alpn.clone(),
    }
}
