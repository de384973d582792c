//! Why a client is not attached: each reason has its number on the wire and its sentence.

/// Why a client is not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no version that both speak.
    #[error("the server speaks version {least} to {most} of the session protocol")]
    Version {
        /// The oldest version of the server.
        least: u8,
        /// Its newest.
        most: u8,
    },
    /// There is no such session, or the proof is wrong: nobody is told which.
    #[error("no such session, or not its secret")]
    Denied,
    /// The session was the one of an earlier start of the server, which has lost it.
    #[error("the session is gone: the server was started anew")]
    Gone,
    /// There is no room for one more.
    #[error("the server has no room, try again in {retry_after} s")]
    Busy {
        /// When it may be worth another try, in seconds.
        retry_after: u32,
    },
    /// Somebody is attached, and shall stay so.
    #[error("another client is attached, last heard of {idle} s ago")]
    InUse {
        /// For how long the attached client has been silent, in seconds.
        idle: u32,
    },
    /// The output that is wanted is not to be had. The session goes on.
    #[error("output is to be had from byte {base} to byte {next}")]
    OutOfRange {
        /// The first byte that there still is.
        base: u64,
        /// The first that there is not yet.
        next: u64,
    },
    /// The server ends.
    #[error("the server stops, try again in {retry_after} s")]
    Stopping {
        /// When another one may be there, in seconds.
        retry_after: u32,
    },
    /// What the client sent is no beginning of a session.
    #[error("the client does not speak the session protocol")]
    Malformed,
    /// The client needed too long for its first words.
    #[error("the client was too slow")]
    TooSlow,
    /// A reason that this version does not know.
    #[error("the server refuses, with code {0}")]
    Other(u8),
}

impl Refusal {
    /// Its number on the wire.
    pub fn code(self) -> u8 {
        match self {
            Refusal::Version { .. } => 1,
            Refusal::Denied => 2,
            Refusal::Gone => 3,
            Refusal::Busy { .. } => 4,
            Refusal::InUse { .. } => 5,
            Refusal::OutOfRange { .. } => 6,
            Refusal::Stopping { .. } => 7,
            Refusal::Malformed => 8,
            Refusal::TooSlow => 9,
            Refusal::Other(code) => code,
        }
    }

    /// When it is worth another try, in seconds, as far as the server says so.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Refusal::Busy { retry_after } | Refusal::Stopping { retry_after } => Some(retry_after),
            _ => None,
        }
    }
}
