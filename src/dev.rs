//! The proxy for development: what is behind it is started anew when a file changes, and nobody sees it gone.
//!
//! `gate` decides: it is told what happens to the files, to the server's processes and to the requests of browsers, and says
//! who waits, who is answered by whom, and what is started and ended. `docs/dev.md` prints its table. Requests
//! go by `door` while a server answers, and `porter` tells the gate of them before it decides. `driver` turns events
//! into its inputs and performs its actions: `server` and `keeper` have the processes, `proxy` the connections, `watch` the
//! files. `control` hears signals and those who ask. `browsers` tells those who show a page, by a `channel` each; `extensions` has the port of LiveReload.

pub mod address;
mod browsers;
pub mod certificate;
mod channel;
mod control;
mod door;
mod driver;
mod echo;
mod error;
pub mod error_page;
mod event;
mod extensions;
mod family;
pub mod gate;
pub mod inject;
mod instance;
pub mod keeper;
pub mod livereload;
mod output;
mod porter;
mod proxy;
mod run;
mod server;
pub mod settings;
pub mod status;
mod terminal;
mod watch;

pub use error::DevError;
pub use event::{Failure, News, Refusal};
pub use proxy::hosts::Hosts;
pub use run::run;
