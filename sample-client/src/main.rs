//! A small daemon that shows how to live under socket-protector.
fn main() {}
