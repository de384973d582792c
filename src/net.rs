//! Addresses and the sockets made from them. What travels over a socket is the business of others, but for the first
//! line of an answer.

pub mod adopt;
pub mod connecting;
pub mod endpoint;
pub mod far_end;
pub mod listener;
pub mod resolve;
pub mod status_line;
pub mod to_ourselves;
