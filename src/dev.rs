//! The proxy for development: what is behind it is started anew when a file changes, and nobody sees it gone.
//!
//! `gate` decides: it is told what happens to the files, to the server's processes and to the requests of browsers, and says
//! who waits, who is answered by whom, and what is started and ended. `docs/dev.md` prints its table. `driver` turns events
//! into its inputs and performs its actions: `server` and `keeper` have the processes, `proxy` the connections, `watch` the
//! files. `browsers` tells those who show a page, by a `channel` each; `extensions` has the port of LiveReload.

pub mod address;
pub mod gate;

#[cfg(feature = "http")]
mod browsers;
#[cfg(feature = "http")]
pub mod certificate;
#[cfg(feature = "http")]
mod channel;
#[cfg(feature = "http")]
mod driver;
#[cfg(feature = "http")]
mod error;
#[cfg(feature = "http")]
pub mod error_page;
#[cfg(feature = "http")]
mod event;
#[cfg(feature = "http")]
mod extensions;
#[cfg(feature = "http")]
mod family;
#[cfg(feature = "http")]
pub mod inject;
#[cfg(feature = "http")]
pub mod keeper;
#[cfg(feature = "http")]
pub mod livereload;
#[cfg(feature = "http")]
mod output;
#[cfg(feature = "http")]
mod proxy;
#[cfg(feature = "http")]
mod run;
#[cfg(feature = "http")]
mod server;
#[cfg(feature = "http")]
pub mod settings;
#[cfg(feature = "http")]
mod watch;

#[cfg(feature = "http")]
pub use error::DevError;
#[cfg(feature = "http")]
pub use event::{Failure, News, Refusal};
#[cfg(feature = "http")]
pub use proxy::hosts::Hosts;
#[cfg(feature = "http")]
pub use run::run;
