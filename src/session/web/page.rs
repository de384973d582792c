//! The files of the terminal page, as a browser gets them.

/// What the terminal page may load and do.
pub const TERMINAL_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
     style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/// `Cache-Control` of a document.
pub const NEVER: &str = "no-store";

/// Where the files are; their version and path follow.
pub const FOLDER: &str = "/page/";

/// A file that a page asks for.
#[derive(Debug)]
pub struct File {
    /// Below the folder of its version.
    pub path: &'static str,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// All of it.
    pub body: &'static [u8],
}

/// What is sent for a file.
#[derive(Debug)]
pub struct Sent {
    /// The file.
    pub file: &'static File,
    /// `ETag`, strong, with its quotes.
    pub etag: String,
    /// `Cache-Control`.
    pub cache: &'static str,
}

/// The terminal page: the document at `/`.
pub fn terminal() -> &'static str {
    "<!doctype html><title>Session</title>"
}

/// The file at this path below [`FOLDER`].
pub fn file(_: &str) -> Option<Sent> {
    None
}
