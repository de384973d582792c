//! Addresses and the sockets made from them; what travels over a socket, as far as it is relayed, and the first line of an
//! answer.

pub mod adopt;
pub mod connecting;
pub mod descriptors;
pub mod endpoint;
pub mod far_end;
pub mod listener;
pub mod listening;
pub mod proxy_protocol;
pub mod relay;
pub mod resolve;
pub mod status_line;
pub mod stream;
pub mod tls;
pub mod to_ourselves;
