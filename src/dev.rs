//! The proxy for development: what is behind it is started anew when a file changes, and nobody sees it gone.
//!
//! `gate` decides: it is told what happens to the files, to the server's processes and to the requests of browsers, and says
//! who waits, who is answered by whom, and what is started and ended. `docs/dev.md` prints its table. `driver` turns events
//! into its inputs and performs its actions: `server` and `keeper` have the processes, `proxy` the connections, `watch` the
//! files.

pub mod address;
pub mod gate;
