//! The proxy for development: what is behind it is started anew when a file changes, and nobody sees it gone.
//!
//! Here is the part that decides. `gate` is told what happens to the files, to the server's processes and to the requests
//! of browsers, and says who waits, who is answered by whom, and what is started and ended. `docs/dev.md` prints its table.

#[cfg(feature = "http")]
pub mod error_page;
pub mod gate;
#[cfg(feature = "http")]
pub mod inject;
#[cfg(feature = "http")]
pub mod livereload;
