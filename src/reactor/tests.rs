use super::{Descriptor, Event, READABLE, Reactor, Registered, WRITABLE};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Left,
    Right,
    Time,
}

fn watched(reactor: &mut Reactor<Key>, key: Key) -> (Registered<Descriptor<UnixStream>>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (reactor.register(Descriptor(ours), key, READABLE).unwrap(), theirs)
}

fn keys(events: &[Event<Key>]) -> Vec<Key> {
    events.iter().map(|event| event.key).collect()
}

#[test]
fn a_source_comes_back_with_its_key_and_end_of_file_is_readable() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (left, mut left_peer) = watched(&mut reactor, Key::Left);
    let (_right, right_peer) = watched(&mut reactor, Key::Right);
    left_peer.write_all(b"x").unwrap();
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Left]);
    let mut byte = [0];
    (&left.0).read_exact(&mut byte).unwrap();
    drop(right_peer);
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Right]);
    assert!(events[0].readable && !events[0].due);
}

#[test]
fn a_dropped_source_is_watched_no_more() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (left, mut peer) = watched(&mut reactor, Key::Left);
    peer.write_all(b"x").unwrap();
    drop(left);
    reactor.set_deadline(Key::Time, Some(Instant::now() + Duration::from_millis(1)));
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Time]);
    assert!(events[0].due);
}

#[test]
fn a_descriptor_number_that_is_used_again_brings_no_event_of_its_former_source() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    for _ in 0..300 {
        let (left, mut left_peer) = watched(&mut reactor, Key::Left);
        left_peer.write_all(b"x").unwrap();
        drop((left, left_peer));
        let (_right, mut right_peer) = watched(&mut reactor, Key::Right);
        right_peer.write_all(b"x").unwrap();
        reactor.wait(&mut events).unwrap();
        assert_eq!(keys(&events), [Key::Right]);
    }
    assert!(reactor.keys.len() <= 64, "dead keys are swept");
}

#[test]
fn a_key_asked_for_again_comes_at_the_next_wait_once() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    reactor.again(Key::Left);
    reactor.again(Key::Left);
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Left]);
    reactor.set_deadline(Key::Time, Some(Instant::now()));
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Time]);
}

#[test]
fn another_thread_wakes_the_loop_for_its_key() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (left, right) = (reactor.waker(Key::Left).unwrap(), reactor.waker(Key::Right).unwrap());
    let waking = right.clone();
    std::thread::spawn(move || waking.wake().unwrap()).join().unwrap();
    right.wake().unwrap();
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Right], "wakes before the loop looks are one, and its own alone");
    assert!(events[0].readable && !events[0].writable && !events[0].due);
    left.wake().unwrap();
    right.wake().unwrap();
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Left, Key::Right]);
}

#[test]
fn a_wake_outlasts_its_waker_and_the_loop_forgets_both() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    for _ in 0..100 {
        let waker = reactor.waker(Key::Left).unwrap();
        waker.wake().unwrap();
        drop(waker);
        drop(reactor.waker(Key::Right).unwrap());
        reactor.wait(&mut events).unwrap();
        assert_eq!(keys(&events), [Key::Left]);
    }
    assert_eq!(reactor.wakers.len(), 0, "what nobody can wake is forgotten");
}

#[test]
fn no_wake_is_lost_between_threads() {
    const EACH: usize = 2000;
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let (sender, waker) = (sender.clone(), reactor.waker(Key::Left).unwrap());
        std::thread::spawn(move || {
            for _ in 0..EACH {
                sender.send(()).unwrap();
                waker.wake().unwrap();
            }
        });
    }
    let mut received = 0;
    reactor.set_deadline(Key::Time, Some(Instant::now() + Duration::from_secs(60)));
    while received < 4 * EACH {
        reactor.wait(&mut events).unwrap();
        assert!(!keys(&events).contains(&Key::Time), "a wake was lost after {received}");
        received += receiver.try_iter().count();
    }
}

#[test]
fn an_end_of_file_and_an_error_are_told_apart_from_bytes() {
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = |reactor: &mut Reactor<Key>| {
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        (reactor.register(Descriptor(ours), Key::Left, READABLE).unwrap(), theirs)
    };
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (_ours, mut theirs) = connect(&mut reactor);
    theirs.write_all(b"x").unwrap();
    reactor.wait(&mut events).unwrap();
    assert!(events[0].readable && !events[0].closed && !events[0].failed);
    drop(theirs);
    reactor.wait(&mut events).unwrap();
    assert!(events[0].readable && events[0].closed && !events[0].failed);
    let (_ours, theirs) = connect(&mut reactor);
    socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
    drop(theirs);
    reactor.wait(&mut events).unwrap();
    assert!(events[0].readable && events[0].writable && events[0].closed && events[0].failed);
}

#[test]
fn a_source_that_is_taken_out_works_on_and_brings_no_event() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (left, mut peer) = watched(&mut reactor, Key::Left);
    let source = left.into_source();
    peer.write_all(b"x").unwrap();
    let (right, mut right_peer) = watched(&mut reactor, Key::Right);
    right.close();
    assert_eq!(right_peer.read(&mut [0]).unwrap(), 0, "it is closed at once");
    reactor.set_deadline(Key::Time, Some(Instant::now() + Duration::from_millis(1)));
    reactor.wait(&mut events).unwrap();
    assert_eq!(keys(&events), [Key::Time]);
    (&source.0).read_exact(&mut [0]).unwrap();
}

#[test]
fn room_is_told_only_when_it_is_asked_for_and_also_when_it_was_there_before() {
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let (mut left, mut peer) = watched(&mut reactor, Key::Left);
    let nothing = |reactor: &mut Reactor<Key>, events: &mut Vec<Event<Key>>| {
        reactor.set_deadline(Key::Time, Some(Instant::now() + Duration::from_millis(1)));
        reactor.wait(events).unwrap();
        assert_eq!(keys(events), [Key::Time]);
    };
    nothing(&mut reactor, &mut events);
    while (&left.0).write(&[0; 4096]).is_ok() {}
    left.also_watch_for(WRITABLE).unwrap();
    nothing(&mut reactor, &mut events);
    peer.set_nonblocking(true).unwrap();
    while peer.read(&mut [0; 4096]).is_ok() {}
    reactor.wait(&mut events).unwrap();
    assert!(keys(&events) == [Key::Left] && events[0].writable && !events[0].readable);
    nothing(&mut reactor, &mut events);

    let (mut right, mut right_peer) = watched(&mut reactor, Key::Right);
    right.also_watch_for(WRITABLE).unwrap();
    reactor.wait(&mut events).unwrap();
    assert!(keys(&events) == [Key::Right] && events[0].writable, "there is room already");
    right.also_watch_for(READABLE).unwrap();
    right_peer.write_all(b"x").unwrap();
    reactor.wait(&mut events).unwrap();
    assert!(keys(&events) == [Key::Right] && events[0].readable, "what was watched for before still is");
}

/// More than one epoll_wait(2) tells of.
#[test]
fn all_that_is_ready_comes_before_what_is_due() {
    const SOURCES: usize = 600;
    let mut reactor = Reactor::new().unwrap();
    let mut events = Vec::new();
    let mut sources: Vec<_> = (0..SOURCES).map(|_| watched(&mut reactor, Key::Left)).collect();
    for (_, peer) in &mut sources {
        peer.write_all(b"x").unwrap();
    }
    reactor.set_deadline(Key::Time, Some(Instant::now()));
    reactor.wait(&mut events).unwrap();
    assert_eq!(events.iter().take_while(|event| event.readable).count(), SOURCES);
    assert_eq!(keys(&events[SOURCES..]), [Key::Time]);
}
