//! The files of the terminal page, as a browser gets them.
//!
//! All are part of the program. A file has its path below `/page/VERSION/`, and the version is made of the contents of
//! all: so what is there may be kept for ever, and a page never meets a script of another version. The two documents
//! themselves are never kept. `docs/session.md` says what the page does.

use std::fmt::Write;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

/// What the terminal page may load and do: what comes from where it comes from, and nothing inline but the styles that
/// the terminal makes.
pub const TERMINAL_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the plain page may load and do: it has no script, and its forms go where it comes from.
pub const PLAIN_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// `Referrer-Policy` of the plain page. With `no-referrer` a browser sends `Origin: null` with a form.
pub const PLAIN_REFERRER_POLICY: &str = "same-origin";

/// `Cache-Control` of a document.
pub const NEVER: &str = "no-store";

/// `Cache-Control` of a file that was asked for by its version.
pub const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Where the files are; their version and path follow.
pub const FOLDER: &str = "/page/";

/// A file that a page asks for.
#[derive(Debug)]
pub struct File {
    /// Below the folder of its version: `vendor/xterm/xterm.css`.
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

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! files {
    ($($path:literal: $type:expr),+ $(,)?) => {
        [$(File { path: $path, content_type: $type, body: include_bytes!(concat!("page/", $path)) }),+]
    };
}

static FILES: [File; 14] = files![
    "page.js": SCRIPT,
    "page.css": STYLE,
    "noscript.css": STYLE,
    "frames.js": SCRIPT,
    "session.js": SCRIPT,
    "link.js": SCRIPT,
    "transport.js": SCRIPT,
    "typing.js": SCRIPT,
    "icon.svg": "image/svg+xml",
    "vendor/xterm/xterm.mjs": SCRIPT,
    "vendor/xterm/xterm.css": STYLE,
    "vendor/xterm/LICENSE": TEXT,
    "vendor/addon-fit/addon-fit.mjs": SCRIPT,
    "vendor/addon-fit/LICENSE": TEXT,
];

/// The terminal page: the document at `/`.
pub fn terminal() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| include_str!("page/index.html").replace("{{version}}", version()))
}

/// The file at this path below [`FOLDER`], `VERSION/page.js`. One that is asked for by another version than ours is not
/// to be kept: a gateway of that version may be beside us, or was before us.
pub fn file(path: &str) -> Option<Sent> {
    let (asked, path) = path.split_once('/')?;
    let file = FILES.iter().find(|file| file.path == path)?;
    let cache = if asked == version() { FOR_EVER } else { NEVER };
    Some(Sent { file, etag: format!("\"{}\"", digest(&[file])), cache })
}

/// The version of all files, in letters that mean nothing in a path.
pub(super) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut digest = digest(&FILES.iter().collect::<Vec<_>>());
        digest.truncate(16);
        digest
    })
}

/// Of the contents, with the paths, since the order and the names count as well.
fn digest(files: &[&File]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.path);
        hash.update([0]);
        hash.update((file.body.len() as u64).to_be_bytes());
        hash.update(file.body);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
