//! The authorities that certificates are checked by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;

use super::error::{LoadError, Remark};
use super::pem;

/// Authorities, and the files that were left out.
pub(super) struct Roots {
    pub(super) store: Arc<RootCertStore>,
    pub(super) remarks: Vec<Remark>,
}

/// Those that the host trusts.
pub(super) fn of_the_platform() -> Result<Roots, LoadError> {
    let mut store = RootCertStore::empty();
    // Of a platform's hundreds a few may be odd; what cannot be parsed is trusted by nobody.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(LoadError::NoPlatformAuthorities);
    }
    Ok(Roots { store: Arc::new(store), remarks: Vec::new() })
}

/// Those of a file, or of the files `*.pem` in a folder.
pub(super) fn at(path: &Path) -> Result<Roots, LoadError> {
    if path.is_dir() {
        return in_folder(path);
    }
    let mut store = RootCertStore::empty();
    add(&mut store, path)?;
    Ok(Roots { store: Arc::new(store), remarks: Vec::new() })
}

/// Those of the files `*.pem` in a folder. One that cannot be used is left out, as long as there is another.
pub(super) fn in_folder(folder: &Path) -> Result<Roots, LoadError> {
    let mut store = RootCertStore::empty();
    let mut remarks = Vec::new();
    for file in files(folder)? {
        if let Err(error) = add(&mut store, &file) {
            remarks.push(Remark::LeftOut(error));
        }
    }
    if store.is_empty() {
        return Err(LoadError::NoAuthority { path: folder.to_owned() });
    }
    Ok(Roots { store: Arc::new(store), remarks })
}

/// The files `*.pem` of a folder, by name.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = |source| LoadError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// All certificates of a file or none of them.
fn add(store: &mut RootCertStore, path: &Path) -> Result<(), LoadError> {
    let mut all = store.clone();
    for (number, certificate) in (1..).zip(pem::certificates(path)?) {
        all.add(certificate).map_err(|source| LoadError::Authority { path: path.to_owned(), number, source })?;
    }
    *store = all;
    Ok(())
}
