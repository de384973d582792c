//! What can go wrong, with the number that C is told by errno. The header says the same in words.

use crate::ffi;
use socket_protector_client::{Error, handoff};
use std::io;

/// Why a function of the library failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A null pointer, or an index without its object.
    #[error("invalid argument")]
    Argument,
    /// The environment tells of no supervisor.
    #[error("there is no supervisor")]
    NoSupervisor,
    /// No descriptor is left of those that were stored under a name.
    #[error("nothing is stored under that name, or all of it was taken")]
    NothingStored,
    /// Nothing to take at the moment.
    #[error("no connection waits")]
    Nothing,
    /// Time to drain, and nothing left to take.
    #[error("the supervisor has closed the channel")]
    Drained,
    /// The daemon itself has asked for it.
    #[error("terminated")]
    Terminated,
    /// The library's own descriptors could not be made.
    #[error("cannot make a descriptor to wait with")]
    Wait {
        /// The cause.
        source: io::Error,
    },
    /// Neither supervisor is there.
    #[error("there is no supervisor, and nobody at {name}")]
    Rendezvous {
        /// Where the original supervisor would be.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// Somebody else has taken the original supervisor's name.
    #[error("{name} belongs to user {user}, who is neither root nor the user of this process")]
    Stranger {
        /// The name.
        name: String,
        /// Whose process is there.
        user: u32,
    },
    /// The original supervisor's channel could not be read.
    #[error("cannot read the channel")]
    Receive {
        /// The cause.
        source: io::Error,
    },
    /// A number that is no descriptor was given as a listener.
    #[error("descriptor {descriptor} cannot be duplicated")]
    Descriptor {
        /// The number.
        descriptor: i32,
        /// The cause.
        source: io::Error,
    },
    /// The client library failed.
    #[error(transparent)]
    Client(#[from] Error),
    /// A map of metadata for which the caller has too little room.
    #[error("the map has {length} bytes, for which {size} are no room")]
    NoRoom {
        /// How many it has.
        length: usize,
        /// For how many there is room.
        size: usize,
    },
    /// Metadata that is no key-value map.
    #[error("the metadata is no key-value map")]
    NoMap {
        /// What is wrong with it.
        source: handoff::key_value::KeyValueError,
    },
    /// A map without that key.
    #[error("the map has no such key")]
    NoKey,
    /// A handoff failed.
    #[error(transparent)]
    Handoff(#[from] handoff::Error),
    /// Accepting failed, for a reason that is not the client library's own.
    #[error("cannot accept")]
    Accept {
        /// The cause.
        source: io::Error,
    },
}

impl Failure {
    /// What accepting answers, which is an error of the client library inside of one of `io`.
    pub(crate) fn of_accept(error: io::Error) -> Failure {
        match error.kind() {
            // These two are made by the client library for states, and carry no error of its own.
            io::ErrorKind::WouldBlock if error.get_ref().is_none() => Failure::Nothing,
            io::ErrorKind::Interrupted if error.get_ref().is_none() => Failure::Terminated,
            _ => match error.downcast::<Error>() {
                Ok(error) => Failure::Client(error),
                Err(source) => Failure::Accept { source },
            },
        }
    }

    pub(crate) fn errno(&self) -> i32 {
        match self {
            Failure::Argument => libc::EINVAL,
            Failure::NoSupervisor | Failure::NothingStored => libc::ENOENT,
            Failure::Nothing => libc::EAGAIN,
            Failure::Drained => libc::ESHUTDOWN,
            Failure::Terminated => libc::ECANCELED,
            Failure::Stranger { .. } => libc::EACCES,
            Failure::Wait { source }
            | Failure::Rendezvous { source, .. }
            | Failure::Receive { source }
            | Failure::Descriptor { source, .. }
            | Failure::Accept { source } => number(source),
            Failure::Client(error) => number_of_client(error),
            Failure::NoRoom { .. } => libc::ERANGE,
            Failure::NoMap { .. } => libc::EBADMSG,
            Failure::NoKey => libc::ENOENT,
            Failure::Handoff(error) => ffi::handoff::number(error),
        }
    }

    /// With the whole chain of causes.
    pub(crate) fn in_full(&self) -> String {
        let first: &dyn std::error::Error = self;
        let causes = std::iter::successors(first.source(), |&cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

fn number_of_client(error: &Error) -> i32 {
    match error {
        Error::Missing { .. } | Error::Variable { .. } => libc::EINVAL,
        Error::Taken => libc::EBUSY,
        Error::OtherProcess { .. } => libc::EPERM,
        Error::Lost { .. } => libc::ECONNABORTED,
        Error::NoSupervisor => libc::ENOTCONN,
        Error::StateTooLong { .. } => libc::EMSGSIZE,
        Error::NoListener { .. } | Error::StoredName { .. } => libc::EINVAL,
        Error::NoRoom { .. } => libc::ERANGE,
        Error::Record { .. } | Error::Count { .. } => libc::EBADMSG,
        Error::Inherited { source, .. }
        | Error::Flags { source, .. }
        | Error::ParentDeath { source }
        | Error::Send { source, .. }
        | Error::Wait { source }
        | Error::Accept { source, .. }
        | Error::Receive { source }
        | Error::NoDescriptors { source, .. }
        | Error::Pollable { source } => number(source),
        // The client library may learn to fail in more ways.
        _ => libc::EIO,
    }
}

pub(crate) fn number(error: &io::Error) -> i32 {
    match error.kind() {
        // Made by the client library, after a wait of its own.
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        _ => error.raw_os_error().unwrap_or(libc::EIO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_cause_is_found() {
        let emfile = || io::Error::from_raw_os_error(libc::EMFILE);
        let of = |error: Error| Failure::of_accept(error.into()).errno();
        assert_eq!(of(Error::Accept { listener: 0, source: emfile() }), libc::EMFILE);
        assert_eq!(of(Error::NoDescriptors { connections: 3, source: emfile() }), libc::EMFILE);
        assert_eq!(of(Error::Lost { count: 1 }), libc::ECONNABORTED);
        assert_eq!(of(Error::Count { expected: 1, found: 2 }), libc::EBADMSG);
        // A cause with the kind of a state is not taken for the state.
        let busy = io::Error::from_raw_os_error(libc::EAGAIN);
        assert_eq!(of(Error::Accept { listener: 0, source: busy }), libc::EAGAIN);
        let interrupted = io::Error::from_raw_os_error(libc::EINTR);
        assert_eq!(of(Error::Accept { listener: 0, source: interrupted }), libc::EINTR);
        assert_eq!(Failure::of_accept(io::ErrorKind::WouldBlock.into()).errno(), libc::EAGAIN);
        assert_eq!(Failure::of_accept(io::ErrorKind::Interrupted.into()).errno(), libc::ECANCELED);
        assert_eq!(Failure::of_accept(emfile()).errno(), libc::EMFILE);
    }

    #[test]
    fn what_cannot_be_given_back_has_a_number_for_each_reason() {
        let of = |error: Error| Failure::from(error).errno();
        let send = |source: io::Error| of(Error::Send { record: "a record", source });
        assert_eq!(of(Error::NoSupervisor), libc::ENOTCONN);
        assert_eq!(of(Error::StateTooLong { length: 65_537 }), libc::EMSGSIZE);
        assert_eq!(of(Error::NoListener { listener: 65_536 }), libc::EINVAL);
        assert_eq!(send(io::Error::from_raw_os_error(libc::ETIMEDOUT)), libc::ETIMEDOUT);
        assert_eq!(send(io::Error::from_raw_os_error(libc::EPIPE)), libc::EPIPE);
        assert_eq!(send(io::Error::from_raw_os_error(libc::EAGAIN)), libc::EAGAIN);
        assert_eq!(Failure::of_accept(Error::NoRoom { length: 9 }.into()).errno(), libc::ERANGE);
    }

    #[test]
    fn a_message_has_the_whole_chain() {
        let source = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let failure = Failure::Rendezvous { name: "sock_srv_1".to_owned(), source };
        let text = "there is no supervisor, and nobody at sock_srv_1: Connection refused (os error 111)";
        assert_eq!(failure.in_full(), text);
    }
}
