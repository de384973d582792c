//! Whose paths are meant, and which endpoints are one place.

use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use super::value::UNIX_NAME_MAX;
use super::{ClientTls, Connect, Interface, Listen, Peer, ServerFiles, Tcp, TlsListen, Udp, Unix, UnixAddress};

/// Why a relative path cannot be made absolute.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// An endpoint is text, and the folder's name is none.
    #[error("the path {path} is relative to a folder whose name is no text: {}", folder.display())]
    Folder {
        /// The path as given.
        path: String,
        /// The folder.
        folder: PathBuf,
    },
    /// As an absolute path, it does not fit into the address of a unix socket.
    #[error("the path of a unix socket is at most {UNIX_NAME_MAX} bytes long, and this one has {}: {path}", path.len())]
    Long {
        /// The absolute path.
        path: String,
    },
}

impl Listen {
    /// The same, with relative paths being relative to `folder`, and absolute thereby if that is. What is absolute stays.
    ///
    /// # Errors
    /// When the path that comes of it cannot be written, or is too long for a unix socket.
    pub fn with_paths_of(self, folder: &Path) -> Result<Self, PathError> {
        Ok(match self {
            Listen::Tls(tls) => {
                let TlsListen { tcp, files } = *tls;
                Listen::Tls(Box::new(TlsListen { tcp, files: files.with_paths_of(folder)? }))
            }
            Listen::Unix(Unix { address, mode, backlog }) => {
                Listen::Unix(Unix { address: address.with_path_of(folder)?, mode, backlog })
            }
            Listen::Proxied(inner) => Listen::Proxied(Box::new(inner.with_paths_of(folder)?)),
            Listen::Tcp(_) | Listen::Udp(_) | Listen::Adopt(_) => self,
        })
    }

    /// Whether both are bound to one address, whatever is spoken there and however it is written.
    pub fn same_place(&self, other: &Listen) -> bool {
        if let (Some(one), Some(two)) = (self.tcp(), other.tcp()) {
            return one.port == two.port && one.interface.same(&two.interface);
        }
        match (self.socket(), other.socket()) {
            (Listen::Udp(Udp { interface, port }), Listen::Udp(two)) => {
                *port == two.port && interface.same(&two.interface)
            }
            (Listen::Unix(one), Listen::Unix(two)) => one.address.same(&two.address),
            (Listen::Adopt(one), Listen::Adopt(two)) => one == two,
            // All kinds of the one side, so that a new one has to be thought of.
            (
                Listen::Tcp(_)
                | Listen::Tls(_)
                | Listen::Udp(_)
                | Listen::Unix(_)
                | Listen::Adopt(_)
                | Listen::Proxied(_),
                _,
            ) => false,
        }
    }
}

impl Listen {
    /// Where TCP connections are accepted, whatever is spoken in them.
    fn tcp(&self) -> Option<&Tcp> {
        match self.socket() {
            Listen::Tcp(tcp) => Some(tcp),
            Listen::Tls(tls) => Some(&tls.tcp),
            Listen::Udp(_) | Listen::Unix(_) | Listen::Adopt(_) | Listen::Proxied(_) => None,
        }
    }
}

impl Connect {
    /// The same, with relative paths being relative to `folder`, and absolute thereby if that is. What is absolute stays.
    ///
    /// # Errors
    /// When the path that comes of it cannot be written, or is too long for a unix socket.
    pub fn with_paths_of(self, folder: &Path) -> Result<Self, PathError> {
        let place = match self.place {
            Peer::Unix(address) => Peer::Unix(address.with_path_of(folder)?),
            Peer::Tcp(_) => self.place,
        };
        let tls = self.tls.map(|tls| tls.with_paths_of(folder)).transpose()?;
        Ok(Connect { place, tls, ..self })
    }
}

impl ServerFiles {
    fn with_paths_of(self, folder: &Path) -> Result<Self, PathError> {
        Ok(ServerFiles {
            private_key: absolute(self.private_key, folder)?,
            cert_key: each(self.cert_key, folder)?,
            extra_cert_chain: each(self.extra_cert_chain, folder)?,
            client_cas: each(self.client_cas, folder)?,
            alpn: self.alpn,
        })
    }
}

impl ClientTls {
    fn with_paths_of(self, folder: &Path) -> Result<Self, PathError> {
        Ok(ClientTls {
            hostname: self.hostname,
            ca_certs_dir: each(self.ca_certs_dir, folder)?,
            cert_key: each(self.cert_key, folder)?,
            private_key: each(self.private_key, folder)?,
            alpn: self.alpn,
        })
    }
}

impl UnixAddress {
    fn with_path_of(self, folder: &Path) -> Result<Self, PathError> {
        match self {
            UnixAddress::Path(path) => {
                let path = absolute(path, folder)?;
                if path.len() > UNIX_NAME_MAX { Err(PathError::Long { path }) } else { Ok(UnixAddress::Path(path)) }
            }
            UnixAddress::Abstract(_) => Ok(self),
        }
    }

    fn same(&self, other: &UnixAddress) -> bool {
        match (self, other) {
            // Compared by their parts: `/run//x` and `/run/./x` are `/run/x`.
            (UnixAddress::Path(one), UnixAddress::Path(two)) => parts(one).eq(parts(two)),
            (UnixAddress::Abstract(one), UnixAddress::Abstract(two)) => one == two,
            (UnixAddress::Path(_), UnixAddress::Abstract(_)) | (UnixAddress::Abstract(_), UnixAddress::Path(_)) => {
                false
            }
        }
    }
}

impl Interface {
    /// Names are compared as names are: in any case of letters, with a point at their end or without.
    fn same(&self, other: &Interface) -> bool {
        match (self, other) {
            (Interface::Name(one), Interface::Name(two)) => bare(one).eq_ignore_ascii_case(bare(two)),
            _ => self == other,
        }
    }
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// What a path leads through; a `.` at its start or within leads nowhere.
fn parts(path: &str) -> impl Iterator<Item = Component<'_>> {
    Path::new(path).components().filter(|part| *part != Component::CurDir)
}

fn each(path: Option<String>, folder: &Path) -> Result<Option<String>, PathError> {
    path.map(|path| absolute(path, folder)).transpose()
}

fn absolute(path: String, folder: &Path) -> Result<String, PathError> {
    if Path::new(&path).is_absolute() {
        return Ok(path);
    }
    let joined: PathBuf = folder.components().chain(parts(&path)).collect();
    joined.into_os_string().into_string().map_err(|_| PathError::Folder { path, folder: folder.to_owned() })
}
