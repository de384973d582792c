//! Descriptors that children leave with us, for their successors; see FDSTORE in sd_notify(3).

use crate::reactor::{CLOSED, Descriptor, Reactor, Registered};
use crate::supervise::Source;
use log::{info, warn};
use nix::sys::stat::fstat;
use std::fs::read_link;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// More than that are refused: whoever stores without end must not take all that there is.
const MOST: usize = 512;

/// A stored descriptor's number among all that there ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredId(u64);

#[derive(Debug)]
struct Stored {
    id: StoredId,
    name: String,
    descriptor: Kept,
}

#[derive(Debug)]
enum Kept {
    /// Dropped when it hangs up.
    Watched(Registered<Descriptor<OwnedFd>>),
    /// Kept whatever happens to it, because that was asked for or because it cannot hang up.
    Plain(OwnedFd),
}

/// What is stored, oldest first.
#[derive(Debug, Default)]
pub struct Store {
    stored: Vec<Stored>,
    next: u64,
}

impl Store {
    /// Keeps descriptors under a name. One that is kept under it already is not kept twice.
    pub fn keep(&mut self, reactor: &mut Reactor<Source>, name: &str, poll: bool, descriptors: Vec<OwnedFd>) {
        for descriptor in descriptors {
            if self.stored.len() >= MOST {
                warn!("a descriptor named {name} is not stored: there are {MOST} already");
                continue;
            }
            if self.stored.iter().any(|stored| stored.name == name && same_file(stored.as_fd(), descriptor.as_fd())) {
                continue;
            }
            let id = StoredId(self.next);
            self.next += 1;
            info!("a descriptor named {name} is stored");
            let descriptor = if poll { watched(reactor, id, descriptor) } else { Kept::Plain(descriptor) };
            self.stored.push(Stored { id, name: name.into(), descriptor });
        }
    }

    /// Drops those of a name.
    pub fn remove(&mut self, name: &str) {
        self.stored.retain(|stored| stored.name != name);
    }

    /// Drops one that has hung up.
    pub fn hung_up(&mut self, id: StoredId) {
        if let Some(place) = self.stored.iter().position(|stored| stored.id == id) {
            let stored = self.stored.remove(place);
            info!("a stored descriptor named {} has hung up and is dropped", stored.name);
        }
    }

    /// All of them, with their names.
    pub fn lend(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.stored.iter().map(|stored| (stored.name.as_str(), stored.as_fd()))
    }
}

impl Stored {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.descriptor {
            Kept::Watched(descriptor) => descriptor.as_fd(),
            Kept::Plain(descriptor) => descriptor.as_fd(),
        }
    }
}

/// A file cannot be watched, and cannot hang up either.
fn watched(reactor: &mut Reactor<Source>, id: StoredId, descriptor: OwnedFd) -> Kept {
    match descriptor.try_clone() {
        Ok(clone) => match reactor.register(Descriptor(descriptor), Source::Stored(id), CLOSED) {
            Ok(descriptor) => Kept::Watched(descriptor),
            Err(_) => Kept::Plain(clone),
        },
        Err(_) => Kept::Plain(descriptor),
    }
}

/// Whether two descriptors lead to the same file; anonymous ones cannot be told apart, so they are never the same.
fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let anonymous = read_link(format!("/proc/self/fd/{}", one.as_raw_fd()))
        .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"anon_inode:"));
    let inode = |descriptor| fstat(descriptor).map(|stat| (stat.st_dev, stat.st_ino));
    !anonymous && inode(one).is_ok_and(|one| inode(other) == Ok(one))
}

#[cfg(test)]
mod tests {
    use super::{MOST, Store, StoredId};
    use crate::reactor::Reactor;
    use crate::supervise::Source;
    use std::os::fd::OwnedFd;

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    fn names(store: &Store) -> Vec<&str> {
        store.lend().map(|(name, _)| name).collect()
    }

    #[test]
    fn descriptors_are_kept_in_order_once_and_go_by_name() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::default();
        let one = file();
        let again = one.try_clone().unwrap();
        store.keep(&mut reactor, "a", true, vec![one, file()]);
        store.keep(&mut reactor, "b", true, vec![file()]);
        store.keep(&mut reactor, "a", true, vec![again]);
        assert_eq!(names(&store), ["a", "a", "b"]);
        store.remove("a");
        assert_eq!(names(&store), ["b"]);
    }

    #[test]
    fn one_that_hangs_up_is_told_of_and_one_that_shall_stay_is_not() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::default();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (kept, its_peer) = std::os::unix::net::UnixStream::pair().unwrap();
        store.keep(&mut reactor, "polled", true, vec![ours.into()]);
        store.keep(&mut reactor, "kept", false, vec![kept.into()]);
        drop((theirs, its_peer));
        let mut events = Vec::new();
        reactor.wait(&mut events).unwrap();
        assert_eq!(events.iter().map(|event| event.key).collect::<Vec<_>>(), [Source::Stored(StoredId(0))]);
        store.hung_up(StoredId(0));
        assert_eq!(names(&store), ["kept"]);
    }

    #[test]
    fn there_is_an_end_to_what_is_stored() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::default();
        for _ in 0..MOST + 3 {
            store.keep(&mut reactor, "x", false, vec![file()]);
        }
        assert_eq!(store.lend().count(), MOST);
    }
}
