//! The command line: what its words mean.
