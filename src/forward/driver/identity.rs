//! Keys and certificates of listeners and destinations: loaded before anything depends on them, and watched since.

use super::Driver;
use crate::forward::DriverError;
use crate::net::endpoint::{Connect, Listen};
use crate::net::tls::{ClientIdentity, Remark, ServerIdentity};
use log::warn;
use std::sync::Arc;

impl Driver {
    /// Who we are at this listener, where TLS is spoken.
    pub(super) fn server_identity(&self, source: &Listen) -> Result<Option<Arc<ServerIdentity>>, DriverError> {
        let Listen::Tls(tls) = source.socket() else {
            return Ok(None);
        };
        let endpoint = source.to_string();
        let identity = ServerIdentity::load(&tls.files);
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
        let identity = ClientIdentity::load(tls, &connect.place);
        let identity = identity.map_err(|source| DriverError::Tls { endpoint: text.to_owned(), source })?;
        warn_of(text, &identity.remarks());
        let identity = Arc::new(identity);
        self.trials.watch_client(text.to_owned(), &identity);
        Ok(Some(identity))
    }
}

pub(super) fn warn_of(endpoint: &str, remarks: &[Arc<Remark>]) {
    for remark in remarks {
        warn!("{endpoint}: {remark}");
    }
}
