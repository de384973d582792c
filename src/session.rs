//! Sessions: a connection to a destination that outlives the clients who use it. Here are the parts that only decide:
//! bytes come in, bytes and actions come out, and the time is told. No descriptor, clock, log or system call.

pub mod telnet;
