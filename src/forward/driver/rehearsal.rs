//! Whether a plan could be served, before anything is handed over.

use crate::forward::probe::Probe;
use crate::forward::restart::plan::{Plan, PlannedChange, PlannedPhase, PlannedRule};
use crate::forward::{DriverError, Settings};
use crate::net::endpoint::{Connect, Listen};
use crate::net::tls::{ClientIdentity, ServerIdentity};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Keys and certificates, by endpoint: what was loaded to try it need not be loaded while everything stands still.
#[derive(Default)]
pub(super) struct Identities {
    servers: HashMap<String, Arc<ServerIdentity>>,
    clients: HashMap<String, Arc<ClientIdentity>>,
}

/// A plan that was understood, with all keys and certificates.
pub(super) struct Rehearsed {
    pub(super) plan: Plan,
    pub(super) rules: Vec<RehearsedRule>,
    pub(super) stop_timeout: Duration,
}

pub(super) struct RehearsedRule {
    pub(super) planned: PlannedRule,
    pub(super) source: Listen,
    pub(super) tls: Option<Arc<ServerIdentity>>,
    pub(super) destinations: Vec<(u64, Connect, Option<Arc<ClientIdentity>>)>,
}

impl Identities {
    /// Whether we could serve that: every endpoint is understood, and every certificate is there.
    pub(super) fn rehearse(&mut self, plan: Plan) -> Result<Rehearsed, DriverError> {
        let stop_timeout = Settings::of(&plan.options).map_err(DriverError::Settings)?.stop_timeout;
        let rules = plan.rules.iter().map(|rule| self.rehearse_rule(rule)).collect::<Result<Vec<_>, DriverError>>()?;
        Ok(Rehearsed { plan, rules, stop_timeout })
    }

    fn rehearse_rule(&mut self, planned: &PlannedRule) -> Result<RehearsedRule, DriverError> {
        let source = planned.source.parse::<Listen>()?;
        let tls = self.server(&source, &planned.source)?;
        if let PlannedPhase::Serving { change: Some(PlannedChange::Probing { probe, .. }), .. } = &planned.phase {
            probe.parse::<Probe>()?;
        }
        let mut destinations = Vec::new();
        for destination in &planned.destinations {
            let connect = destination.endpoint.parse::<Connect>()?;
            let identity = self.client(&connect, &destination.endpoint)?;
            destinations.push((destination.id, connect, identity));
        }
        Ok(RehearsedRule { planned: planned.clone(), source, tls, destinations })
    }

    fn server(&mut self, source: &Listen, text: &str) -> Result<Option<Arc<ServerIdentity>>, DriverError> {
        let Listen::Tls(tls) = source.socket() else {
            return Ok(None);
        };
        if let Some(known) = self.servers.get(text) {
            return Ok(Some(Arc::clone(known)));
        }
        let identity = ServerIdentity::load(&tls.files);
        let identity = Arc::new(identity.map_err(|source| DriverError::Tls { endpoint: text.to_owned(), source })?);
        self.servers.insert(text.to_owned(), Arc::clone(&identity));
        Ok(Some(identity))
    }

    fn client(&mut self, connect: &Connect, text: &str) -> Result<Option<Arc<ClientIdentity>>, DriverError> {
        let Some(tls) = &connect.tls else {
            return Ok(None);
        };
        if let Some(known) = self.clients.get(text) {
            return Ok(Some(Arc::clone(known)));
        }
        let identity = ClientIdentity::load(tls, &connect.place);
        let identity = Arc::new(identity.map_err(|source| DriverError::Tls { endpoint: text.to_owned(), source })?);
        self.clients.insert(text.to_owned(), Arc::clone(&identity));
        Ok(Some(identity))
    }
}
