//! A certificate chain with its key: whether they belong together and are in their time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{DateTime, Decode};

use super::error::{LoadError, Remark};
use super::{pem, provider};

/// A point in time, written as RFC 3339 has it: `2030-01-31T00:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub SystemTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_system_time(self.0) {
            Ok(time) => time.fmt(f),
            // Before 1970 or after 9999.
            Err(_) => f.write_str("a time out of range"),
        }
    }
}

/// A key and its certificate, read and checked.
pub(super) struct Checked {
    pub(super) certified: Arc<CertifiedKey>,
    /// The end of the first certificate's time.
    pub(super) expires: Moment,
    pub(super) remarks: Vec<Remark>,
}

/// Where they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) certificate: &'a Path,
    pub(super) key: &'a Path,
    /// More certificates of the chain.
    pub(super) chain: Option<&'a Path>,
}

/// Reads and checks both.
pub(super) fn checked(places: Places<'_>) -> Result<Checked, LoadError> {
    let mut remarks = Vec::new();
    let key = pem::private_key(places.key)?;
    if key.open {
        remarks.push(Remark::OpenKey { path: places.key.to_owned() });
    }
    let mut chain = numbered(places.certificate)?;
    if let Some(path) = places.chain {
        chain.extend(numbered(path)?);
    }
    let expires = in_time(&chain[0])?;
    remarks.extend(remarks_on(&chain));

    let signing = provider().key_provider.load_private_key(key.key);
    let signing = signing.map_err(|source| LoadError::Key { path: places.key.to_owned(), source })?;
    let certified = CertifiedKey::new(chain.into_iter().map(|link| link.der).collect(), signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(LoadError::Mismatch { key: places.key.to_owned(), certificate: places.certificate.to_owned() });
        }
        Err(source) => return Err(LoadError::Unusable { path: places.certificate.to_owned(), source }),
    }
    Ok(Checked { certified: Arc::new(certified), expires, remarks })
}

/// A certificate of the chain, as read and as understood.
struct Link<'a> {
    path: &'a Path,
    der: CertificateDer<'static>,
    parsed: CertificateInner<Raw>,
}

impl Link<'_> {
    fn ends(&self) -> Moment {
        Moment(self.parsed.tbs_certificate().validity().not_after.to_system_time())
    }
}

fn numbered(path: &Path) -> Result<Vec<Link<'_>>, LoadError> {
    let numbers = 1..;
    let parse = |(der, number): (CertificateDer<'static>, usize)| {
        let parsed = CertificateInner::from_der(&der);
        let parsed = parsed.map_err(|source| LoadError::Certificate { path: path.to_owned(), number, source })?;
        Ok(Link { path, der, parsed })
    };
    pem::certificates(path)?.into_iter().zip(numbers).map(parse).collect()
}

/// Until when the certificate is valid, if it is.
fn in_time(link: &Link<'_>) -> Result<Moment, LoadError> {
    let now = SystemTime::now();
    let begins = link.parsed.tbs_certificate().validity().not_before.to_system_time();
    if now < begins {
        return Err(LoadError::NotYet { path: link.path.to_owned(), at: Moment(begins) });
    }
    let at = link.ends();
    if at.0 < now { Err(LoadError::Expired { path: link.path.to_owned(), at }) } else { Ok(at) }
}

/// What clients may dislike about the rest of the chain. Old cross-signed authorities stay in chains for good reasons,
/// so none of it is an error.
fn remarks_on(chain: &[Link<'_>]) -> Vec<Remark> {
    let now = SystemTime::now();
    let mut remarks = Vec::new();
    for (number, two) in (2..).zip(chain.windows(2)) {
        if two[0].parsed.tbs_certificate().issuer() != two[1].parsed.tbs_certificate().subject() {
            remarks.push(Remark::Order { number });
        }
        let at = two[1].ends();
        if at.0 < now {
            remarks.push(Remark::OldChain { number, at });
        }
    }
    remarks
}
