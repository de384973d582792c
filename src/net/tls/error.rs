//! What can be wrong with the files of an identity. Messages name the file and never quote it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::certificate::Moment;

/// Why an identity cannot be had from its files.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file or folder that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A pipe, a device, a socket: reading it could wait for ever or find no end.
    #[error("{} is no regular file", path.display())]
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// More than any certificate file has.
    #[error("{} is larger than {} MiB", path.display(), super::pem::LARGEST >> 20)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// Text that is not PEM.
    #[error("{} is no valid PEM: {problem}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: PemProblem,
    },
    /// A file without what it is named for.
    #[error("there is no certificate in {}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A folder without what it is named for.
    #[error("there is no certificate in the *.pem files of {}", path.display())]
    NoAuthority {
        /// The folder.
        path: PathBuf,
    },
    /// A file without a private key.
    #[error("there is no private key in {}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A key that needs a passphrase.
    #[error("the private key in {} is encrypted, and nobody is there to type the passphrase: store it decrypted", path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A key of a kind that is not supported, or damaged.
    #[error("the private key in {} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A certificate that is damaged.
    #[error("certificate {number} in {} cannot be read", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which of the file, from 1.
        number: usize,
        /// What is wrong with it.
        source: x509_cert::der::Error,
    },
    /// A certificate of a kind that is not supported.
    #[error("the certificate in {} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The key is that of another certificate, as in the middle of a change.
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate whose time is over.
    #[error("the certificate in {} expired at {at}", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: Moment,
    },
    /// A certificate whose time has not come, or a clock that is wrong.
    #[error("the certificate in {} is not valid before {at}", path.display())]
    NotYet {
        /// The file.
        path: PathBuf,
        /// When it will be.
        at: Moment,
    },
    /// A certificate that cannot stand for an authority.
    #[error("certificate {number} in {} cannot be trusted", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Which of the file, from 1.
        number: usize,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A host without trusted certificates, as in a bare container.
    #[error("this host has no certificate authorities that it trusts; name a folder of them with caCertsDir")]
    NoPlatformAuthorities,
    /// The check of client certificates cannot be set up.
    #[error("client certificates cannot be checked by {}", path.display())]
    ClientAuthorities {
        /// Where the authorities are.
        path: PathBuf,
        /// What rustls says.
        source: rustls::server::VerifierBuilderError,
    },
    /// A name that no certificate can be checked for.
    #[error("'{}' is neither a host name in its ASCII form nor an IP address", name.escape_default())]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: rustls::pki_types::InvalidDnsNameError,
    },
    /// A name of an application protocol that cannot be sent.
    #[error("'{}' is no name of an application protocol: it has 1 to 255 bytes", name.escape_default())]
    Protocol {
        /// The name.
        name: String,
    },
    /// What was read does not go together.
    #[error("TLS cannot be set up")]
    Setup {
        /// What rustls says.
        source: rustls::Error,
    },
}

/// What is wrong with a text that should be PEM. A file may be a private key, so nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PemProblem {
    /// The file ends within a section, as one that is being written.
    #[error("a section has no end")]
    NoEnd,
    /// A line that begins a section in the wrong form.
    #[error("a section does not begin as it should")]
    Begin,
    /// What is between begin and end cannot be decoded.
    #[error("a section is no base64")]
    Base64,
    /// Something else.
    #[error("it cannot be decoded")]
    Other,
}

/// Something to warn of that stops nothing.
#[derive(Debug, Error)]
pub enum Remark {
    /// Everybody on this host can read the key.
    #[error("the private key in {} can be read by every user of this host", path.display())]
    OpenKey {
        /// The file.
        path: PathBuf,
    },
    /// A chain that some clients will not follow.
    #[error("certificate {number} of the chain has not issued the one before it; some clients will refuse the chain")]
    Order {
        /// Which of the whole chain, from 1.
        number: usize,
    },
    /// An authority on the way that is past its time; clients may know another.
    #[error("certificate {number} of the chain expired at {at}")]
    OldChain {
        /// Which of the whole chain, from 1.
        number: usize,
        /// When.
        at: Moment,
    },
    /// A file of a folder that is left out.
    #[error("left out: {}", crate::chain(.0))]
    LeftOut(LoadError),
}
