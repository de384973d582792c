//! Certificates and private keys from PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::{LoadError, PemProblem};

/// Most bytes of a file; a bundle of all public authorities has a twentieth of it.
pub(super) const LARGEST: u64 = 4 << 20;

/// A private key and what its file's mode says.
pub(super) struct Key {
    pub(super) key: PrivateKeyDer<'static>,
    /// Every user of the host can read the file.
    pub(super) open: bool,
}

/// The file's text, wiped when dropped.
pub(super) fn text(path: &Path) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    read(path).map(|(text, _)| text)
}

/// All certificates of a file, in their order; other sections are passed over, a private key among them.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let text = text(path)?;
    let sections = CertificateDer::pem_slice_iter(&text);
    let certificates: Vec<_> = sections.collect::<Result<_, _>>().map_err(|error| not_pem(path, &error))?;
    if certificates.is_empty() { Err(LoadError::NoCertificate { path: path.to_owned() }) } else { Ok(certificates) }
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1.
pub(super) fn private_key(path: &Path) -> Result<Key, LoadError> {
    let (text, mode) = read(path)?;
    if is_encrypted(&text) {
        return Err(LoadError::EncryptedKey { path: path.to_owned() });
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(Key { key, open: mode & 0o004 != 0 }),
        Err(PemError::NoItemsFound) => Err(LoadError::NoKey { path: path.to_owned() }),
        Err(error) => Err(not_pem(path, &error)),
    }
}

/// Both forms of it: PKCS#8's, and the older one of a header within the section. RFC 7468, RFC 1421.
fn is_encrypted(text: &[u8]) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n' || byte == b'\r');
    lines.any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || (line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
    })
}

/// The file's text, wiped when dropped, and its mode.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), LoadError> {
    let failed = |source: io::Error| LoadError::Read { path: path.to_owned(), source };
    // Not to wait for a writer, should it be a pipe.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(LoadError::NoFile { path: path.to_owned() });
    }
    // Room for all of it at once, so that no copy is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(LARGEST)).unwrap_or(0) + 1));
    file.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).is_ok_and(|length| length <= LARGEST) {
        Ok((text, metadata.mode()))
    } else {
        Err(LoadError::TooLarge { path: path.to_owned() })
    }
}

/// The parser's own messages repeat lines of the file.
fn not_pem(path: &Path, error: &PemError) -> LoadError {
    let problem = match error {
        PemError::MissingSectionEnd { .. } => PemProblem::NoEnd,
        PemError::IllegalSectionStart { .. } => PemProblem::Begin,
        PemError::Base64Decode(_) => PemProblem::Base64,
        _ => PemProblem::Other,
    };
    LoadError::Pem { path: path.to_owned(), problem }
}
