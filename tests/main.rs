//! Index of the suite.
fn main() {}
