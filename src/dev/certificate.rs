//! A certificate for this machine alone, made when it is first needed and kept for the next time.
//!
//! It vouches for itself, so a browser asks once, or is told to trust the file.

use super::DevError;
use crate::net::endpoint::ServerFiles;
use crate::net::tls::ServerIdentity;
use log::info;
use nix::unistd::{Uid, User};
use rcgen::{CertificateParams, DnType, KeyPair};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Browsers take none that is for longer.
const DAYS: u64 = 397;
/// One that ends so soon is made anew.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);
const DAY: u64 = 24 * 3600;

/// Key and certificate: those that were named, or those of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// In these files, which are somebody else's.
    Files {
        /// The certificate, and those that lead to its root.
        certificate: PathBuf,
        /// The key; without it that is in the same file.
        key: Option<PathBuf>,
    },
    /// Ours.
    Local,
}

impl Identity {
    /// Reads it, or makes it first. `host` is a name that it is for, besides localhost.
    ///
    /// # Errors
    /// Files that are none, or that cannot be written.
    pub(super) fn load(&self, host: &str) -> Result<ServerIdentity, DevError> {
        match self {
            Identity::Files { certificate, key } => load(certificate, key.as_deref().unwrap_or(certificate)),
            Identity::Local => local(&directory()?, host),
        }
    }
}

fn load(certificate: &Path, key: &Path) -> Result<ServerIdentity, DevError> {
    let absolute = |path: &Path| -> Result<String, DevError> {
        let failed = |source| DevError::Certificate { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(failed)?;
        path.into_os_string().into_string().map_err(|_| failed(io::ErrorKind::InvalidFilename.into()))
    };
    Ok(ServerIdentity::load(&ServerFiles {
        private_key: absolute(key)?,
        cert_key: Some(absolute(certificate)?),
        extra_cert_chain: None,
        client_cas: None,
        alpn: vec!["h2".into(), "http/1.1".into()],
    })?)
}

/// Where a user's files of this kind are, by the XDG Base Directory Specification.
fn directory() -> Result<PathBuf, DevError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").or_else(|| User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir));
    let found = absolute("XDG_DATA_HOME").or_else(|| home().map(|home| home.join(".local/share")));
    found.map(|path| path.join("socket-protector")).ok_or(DevError::NoHome)
}

/// The one in this directory, if it is good for a while and for this host; else a new one.
fn local(directory: &Path, host: &str) -> Result<ServerIdentity, DevError> {
    let (certificate, key) = (directory.join(format!("dev-{host}.pem")), directory.join(format!("dev-{host}.key")));
    if let Ok(identity) = load(&certificate, &key)
        && lasts(&identity)
    {
        return Ok(identity);
    }
    make(&certificate, &key, host)?;
    info!("made a certificate for {host}: {}", certificate.display());
    load(&certificate, &key)
}

fn lasts(identity: &ServerIdentity) -> bool {
    identity.expires().0 > SystemTime::now() + SOON
}

fn make(certificate: &Path, key: &Path, host: &str) -> Result<(), DevError> {
    let failed = |source| DevError::Certificate { path: certificate.to_owned(), source };
    let other = |error: rcgen::Error| failed(io::Error::other(error));
    let names = ["localhost", "*.localhost", "127.0.0.1", "::1", host];
    let names: std::collections::BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    let mut parameters = CertificateParams::new(names.into_iter().collect::<Vec<_>>()).map_err(other)?;
    parameters.distinguished_name.push(DnType::CommonName, "socket-protector dev");
    let now = SystemTime::now();
    parameters.not_before = (now - Duration::from_secs(DAY)).into();
    parameters.not_after = (now + Duration::from_secs((DAYS - 1) * DAY)).into();
    let pair = KeyPair::generate().map_err(other)?;
    let made = parameters.self_signed(&pair).map_err(other)?;
    if let Some(directory) = certificate.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    write(key, &pair.serialize_pem(), 0o600).map_err(failed)?;
    write(certificate, &made.pem(), 0o644).map_err(failed)
}

/// Puts a whole file in the place of what there was.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::local;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_anew_when_it_is_spoilt() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, read) =
            (folder.path().join("new/deep"), |name: &str| fs::read(folder.path().join("new/deep").join(name)));
        local(&directory, "localhost").unwrap();
        let first = read("dev-localhost.pem").unwrap();
        local(&directory, "localhost").unwrap();
        assert_eq!(read("dev-localhost.pem").unwrap(), first);
        let mode = fs::metadata(directory.join("dev-localhost.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        local(&directory, "my.test").unwrap();
        fs::write(directory.join("dev-localhost.pem"), "spoilt").unwrap();
        local(&directory, "localhost").unwrap();
        assert_ne!(read("dev-localhost.pem").unwrap(), b"spoilt");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4, "no file is left beside");
    }
}
