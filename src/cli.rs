//! The command line: what its words mean.

pub mod value;
