//! What can be wrong with a header.

/// Bytes that are no header of the PROXY protocol. The messages quote nothing of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY protocol header")]
    Absent,
    /// The sender closed within the header.
    #[error("the connection ended after {received} bytes, within the PROXY protocol header")]
    Ended {
        /// How many bytes had come.
        received: usize,
    },
    /// Version 1: no end of line where there must be one at the latest.
    #[error("the PROXY line is longer than {} bytes", super::v1::LONGEST)]
    LongLine,
    /// Version 1: a line feed without the carriage return before it, or the other way round.
    #[error("the PROXY line does not end with carriage return and line feed")]
    LineEnd,
    /// Version 1: a protocol that does not exist.
    #[error("the PROXY line names neither TCP4 nor TCP6 nor UNKNOWN")]
    Protocol,
    /// Version 1: not four fields with single spaces between them.
    #[error("the PROXY line has not two addresses and two ports")]
    Fields,
    /// Version 1: a field that is no address of the protocol.
    #[error("the PROXY line's {which} address is no address of {protocol}")]
    Address {
        /// Source or destination.
        which: &'static str,
        /// What the line names.
        protocol: &'static str,
    },
    /// Version 1: a field that is no port.
    #[error("the PROXY line's {which} port is no number from 0 to 65535")]
    Port {
        /// Source or destination.
        which: &'static str,
    },
    /// Version 2 has the signature, and a version other than 2 behind it.
    #[error("the PROXY header's version is {version} and not 2")]
    Version {
        /// The one named.
        version: u8,
    },
    /// Version 2: neither LOCAL nor PROXY.
    #[error("the PROXY header's command {command} is unknown")]
    Command {
        /// The one named.
        command: u8,
    },
    /// Version 2: a combination of address family and transport that does not exist.
    #[error("the PROXY header's address family and transport {family:#04x} are unknown")]
    Family {
        /// The byte that names both.
        family: u8,
    },
    /// Version 2: less room than the addresses take.
    #[error("the PROXY header has {length} bytes of addresses, its family takes {needed}")]
    Short {
        /// The length it names.
        length: u16,
        /// What the family takes.
        needed: usize,
    },
}
