//! Addresses and the sockets made from them. What travels over a socket is the business of others.

pub mod adopt;
pub mod endpoint;
pub mod listener;
pub mod proxy_protocol;
pub mod relay;
pub mod tls;
