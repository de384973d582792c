//! Descriptors that children leave with us, for their successors; see FDSTORE in sd_notify(3).

use crate::reactor::{CLOSED, Descriptor, Reactor, Registered};
use crate::supervise::Source;
use crate::supervise::seldom::Seldom;
use crate::sys;
use log::{debug, info, warn};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::fstat;
use std::fs::read_link;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

/// More than that are refused: whoever stores without end must not take all that there is.
const MOST: usize = 512;
/// So many are ours, the reserve among them. What is stored is a part of the rest, of which clients need the most.
const OURS: usize = 64;
/// Where stored descriptors are put: out of the way of the numbers that children get, so that a start takes no further
/// descriptor for each of them.
const ABOVE: usize = 1024;

/// A stored descriptor's number among all that there ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoredId(u64);

/// A descriptor that a child gave away. Letting it go waits for nothing.
#[derive(Debug)]
pub struct Given(OwnedFd);

#[derive(Debug)]
struct Stored {
    id: StoredId,
    name: String,
    file: Option<File>,
    descriptor: Kept,
}

/// Device and inode; and for what it is open, by which the ends of a pipe differ.
type File = (u64, u64, i32);

#[derive(Debug)]
enum Kept {
    /// Dropped when it hangs up.
    Watched(Registered<Descriptor<Given>>),
    /// Kept whatever happens to it, because that was asked for or because it cannot hang up.
    Plain(Given),
}

/// What is stored, oldest first.
#[derive(Debug)]
pub struct Store {
    stored: Vec<Stored>,
    next: u64,
    most: usize,
    above: RawFd,
    refused: Seldom,
    dropped: Seldom,
}

impl Store {
    /// An empty one, with as much room as our limit of open files and the children's allow: a child gets all that is
    /// stored, and must have numbers left for its own.
    pub fn new(children: u64) -> Self {
        let limit =
            getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        let above = RawFd::try_from(ABOVE.min(limit / 2)).unwrap_or(0);
        let most = most(limit, usize::try_from(children).unwrap_or(usize::MAX));
        Store { stored: Vec::new(), next: 0, most, above, refused: Seldom::default(), dropped: Seldom::default() }
    }

    /// Keeps descriptors under a name. One that is kept under it already is not kept twice.
    pub fn keep(&mut self, reactor: &mut Reactor<Source>, name: &str, poll: bool, descriptors: Vec<Given>) {
        for descriptor in descriptors {
            let file = file(descriptor.as_fd());
            if file.is_some() && self.stored.iter().any(|stored| stored.name == name && stored.file == file) {
                continue;
            }
            if self.stored.len() >= self.most {
                if let Some(more) = self.refused.tell(Instant::now()) {
                    warn!("descriptors named {name} are not stored: there are {} already{more}", self.most);
                }
                return;
            }
            let id = StoredId(self.next);
            self.next += 1;
            debug!("a descriptor named {name} is stored");
            let descriptor = self.out_of_the_way(descriptor);
            let descriptor = if poll { self.watched(reactor, id, descriptor) } else { Kept::Plain(descriptor) };
            self.stored.push(Stored { id, name: name.into(), file, descriptor });
        }
    }

    fn out_of_the_way(&self, descriptor: Given) -> Given {
        sys::duplicate_above(descriptor.as_fd(), self.above).map_or(descriptor, Given)
    }

    /// A file cannot be watched, and cannot hang up either.
    fn watched(&self, reactor: &mut Reactor<Source>, id: StoredId, descriptor: Given) -> Kept {
        // When none is free up there, one below does as well.
        let duplicate = |above| sys::duplicate_above(descriptor.as_fd(), above);
        match duplicate(self.above).or_else(|_| duplicate(0)) {
            Ok(duplicate) => match reactor.register(Descriptor(descriptor), Source::Stored(id), CLOSED) {
                Ok(descriptor) => Kept::Watched(descriptor),
                Err(_) => Kept::Plain(Given(duplicate)),
            },
            Err(_) => Kept::Plain(descriptor),
        }
    }

    /// Drops those of a name.
    pub fn remove(&mut self, name: &str) {
        self.stored.retain(|stored| stored.name != name);
    }

    /// Drops one of which something was told, if it has hung up: urgent bytes of a client's are told as well.
    pub fn look(&mut self, id: StoredId) {
        let found = self.stored.iter().position(|stored| stored.id == id && has_hung_up(stored.as_fd()));
        if let Some(place) = found {
            let stored = self.stored.remove(place);
            if let Some(more) = self.dropped.tell(Instant::now()) {
                info!("a stored descriptor named {} has hung up and is dropped{more}", stored.name);
            }
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

impl From<OwnedFd> for Given {
    fn from(descriptor: OwnedFd) -> Given {
        Given(descriptor)
    }
}

impl AsFd for Given {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Given {
    /// close(2) waits for a socket's unread bytes under SO_LINGER, even for a non-blocking one. What is no socket has
    /// no such option, and that it has none is all that this call then finds out.
    fn drop(&mut self) {
        let socket = socket2::SockRef::from(&self.0);
        if socket.linger().is_ok_and(|linger| linger.is_some_and(|time| !time.is_zero())) {
            let _ = socket.set_linger(None);
        }
    }
}

/// How many may be stored, by our limit of open files and the children's.
fn most(ours: usize, children: usize) -> usize {
    MOST.min(ours.saturating_sub(OURS) / 4).min(children / 2)
}

/// By what a descriptor is known again; anonymous ones cannot be told apart, so they never are.
fn file(descriptor: BorrowedFd<'_>) -> Option<File> {
    let anonymous = read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
        .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"anon_inode:"));
    let stat = fstat(descriptor).ok().filter(|_| !anonymous)?;
    let open_for = fcntl(descriptor, FcntlArg::F_GETFL).ok()? & OFlag::O_ACCMODE.bits();
    Some((stat.st_dev, stat.st_ino, open_for))
}

fn has_hung_up(descriptor: BorrowedFd<'_>) -> bool {
    // A hang-up and an error come unasked.
    poll(&mut [PollFd::new(descriptor, PollFlags::empty())], PollTimeout::ZERO).is_ok_and(|events| events > 0)
}

#[cfg(test)]
mod tests {
    use super::{Given, MOST, Store, StoredId, most};
    use crate::reactor::Reactor;
    use crate::supervise::Source;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    fn given(descriptor: impl Into<OwnedFd>) -> Given {
        Given(descriptor.into())
    }

    fn file() -> Given {
        given(tempfile::tempfile().unwrap())
    }

    fn names(store: &Store) -> Vec<&str> {
        store.lend().map(|(name, _)| name).collect()
    }

    #[test]
    fn descriptors_are_kept_in_order_once_and_go_by_name() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::new(u64::MAX);
        let one = file();
        let again = given(one.0.try_clone().unwrap());
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
        let mut store = Store::new(u64::MAX);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (kept, its_peer) = std::os::unix::net::UnixStream::pair().unwrap();
        store.keep(&mut reactor, "polled", true, vec![given(ours)]);
        store.keep(&mut reactor, "kept", false, vec![given(kept)]);
        drop((theirs, its_peer));
        let mut events = Vec::new();
        reactor.wait(&mut events).unwrap();
        assert_eq!(events.iter().map(|event| event.key).collect::<Vec<_>>(), [Source::Stored(StoredId(0))]);
        store.look(StoredId(0));
        assert_eq!(names(&store), ["kept"]);
    }

    #[test]
    fn urgent_bytes_are_no_hang_up() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::new(u64::MAX);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        store.keep(&mut reactor, "client", true, vec![given(listener.accept().unwrap().0)]);
        socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
        let mut events = Vec::new();
        reactor.wait(&mut events).unwrap();
        events.iter().for_each(|event| assert_eq!(event.key, Source::Stored(StoredId(0))));
        store.look(StoredId(0));
        assert_eq!(names(&store), ["client"]);
    }

    #[test]
    fn both_ends_of_a_pipe_are_kept_under_one_name() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::new(u64::MAX);
        let (read, write) = std::io::pipe().unwrap();
        let again = given(write.try_clone().unwrap());
        store.keep(&mut reactor, "pipe", true, vec![given(read), given(write), again]);
        assert_eq!(names(&store), ["pipe", "pipe"]);
    }

    #[test]
    fn what_has_no_file_of_its_own_is_kept_as_often_as_it_comes() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::new(u64::MAX);
        let one: OwnedFd = nix::sys::epoll::Epoll::new(nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC).unwrap().0;
        let again = given(one.try_clone().unwrap());
        store.keep(&mut reactor, "loop", false, vec![given(one), again]);
        assert_eq!(names(&store), ["loop", "loop"]);
    }

    #[test]
    fn there_is_an_end_to_what_is_stored() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::new(u64::MAX);
        for _ in 0..MOST + 3 {
            store.keep(&mut reactor, "x", false, vec![file()]);
        }
        assert_eq!(store.lend().count(), MOST);
        assert_eq!(most(usize::MAX, usize::MAX), MOST);
        assert_eq!(most(164, 1024), 25, "three quarters of what we need not ourselves are for clients");
        assert_eq!(most(20_000, 64), 32, "half of what a child may have open is its own");
        assert_eq!(most(20, 64), 0);
    }

    #[test]
    fn what_is_stored_is_out_of_the_way_of_the_numbers_that_children_get() {
        let mut reactor = Reactor::new().unwrap();
        let mut store = Store::new(u64::MAX);
        store.keep(&mut reactor, "x", true, vec![file()]);
        let (above, room) = (store.above, store.most);
        assert!(store.lend().all(|(_, descriptor)| descriptor.as_raw_fd() >= above));
        assert!(above as usize > room + 100 || room < 100, "{above} {room}");
    }

    #[test]
    fn letting_go_waits_for_no_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_there, _) = listener.accept().unwrap();
        here.set_nonblocking(true).unwrap();
        while here.write(&[0; 65536]).is_ok() {}
        socket2::SockRef::from(&here).set_linger(Some(Duration::from_secs(5))).unwrap();
        let begin = Instant::now();
        drop(given(here));
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
}
