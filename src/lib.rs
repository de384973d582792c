//! socket-protector: nobody's connection is ever lost because the program behind it changed.
