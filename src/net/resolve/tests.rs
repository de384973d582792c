use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::{Answer, FOR_A_LOOKUP, FOR_ONE_NAME, Inbox, Resolver, THREADS, counted};
use crate::net::descriptors::Descriptors;
use crate::reactor::Reactor;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Answers,
    Asked(usize),
    Late,
}

/// A loop that asks.
struct Asker {
    reactor: Reactor<Key>,
    inbox: Inbox<Key>,
}

impl Asker {
    fn new() -> Self {
        let mut reactor = Reactor::new().unwrap();
        let inbox = Inbox::new(reactor.waker(Key::Answers).unwrap());
        Asker { reactor, inbox }
    }

    fn next(&mut self) -> (Key, Answer) {
        self.reactor.set_deadline(Key::Late, Some(Instant::now() + PATIENCE));
        let mut events = Vec::new();
        loop {
            if let Some(answer) = self.inbox.next() {
                return answer;
            }
            self.reactor.wait(&mut events).unwrap();
            assert!(events.iter().all(|event| event.key == Key::Answers), "no answer came");
        }
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 0))
}

/// A lookup that has begun, and how it is let go.
type Begun = (String, Sender<Vec<SocketAddr>>);

/// Lookups that tell when they begin, and hang until they are let go.
fn held() -> (Resolver<Key>, Receiver<Begun>) {
    let (tell, begun) = mpsc::channel();
    let resolver = Resolver::new(move |host: &str| {
        let (let_go, held) = mpsc::channel();
        tell.send((host.to_owned(), let_go)).map_err(io::Error::other)?;
        held.recv().map_err(io::Error::other)
    });
    (resolver, begun)
}

#[test]
fn the_system_knows_localhost_and_not_every_name() {
    let (resolver, mut asker) = (Resolver::system(), Asker::new());
    let _question = resolver.ask("localhost", Key::Asked(1), &asker.inbox);
    let (key, answer) = asker.next();
    let addresses = answer.unwrap();
    assert_eq!(key, Key::Asked(1));
    assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
    // A label this long is none, which is known without asking a server.
    let _question = resolver.ask(&"x".repeat(64), Key::Asked(2), &asker.inbox);
    let (key, answer) = asker.next();
    assert_eq!(key, Key::Asked(2));
    assert!(answer.is_err());
}

#[test]
fn each_question_has_a_lookup_of_its_own() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let resolver = Resolver::new(move |_: &str| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        Ok(vec![address(u8::try_from(number).unwrap())])
    });
    let mut asker = Asker::new();
    for number in 0..5 {
        let _question = resolver.ask("changes", Key::Asked(0), &asker.inbox);
        let (_, answer) = asker.next();
        assert_eq!(answer.unwrap(), [address(number)]);
    }
}

#[test]
fn a_name_that_hangs_delays_no_other_and_those_who_ask_for_it_wait_together() {
    let (resolver, begun) = held();
    let mut asker = Asker::new();
    let mut questions = Vec::new();
    let mut hanging = Vec::new();
    for number in 0..FOR_ONE_NAME {
        questions.push(resolver.ask("hangs", Key::Asked(number), &asker.inbox));
        hanging.push(begun.recv_timeout(PATIENCE).unwrap());
    }
    let more = FOR_ONE_NAME..FOR_ONE_NAME + 20;
    questions.extend(more.map(|number| resolver.ask("hangs", Key::Asked(number), &asker.inbox)));
    questions.push(resolver.ask("good", Key::Asked(1000), &asker.inbox));
    let (name, let_go) = begun.recv_timeout(PATIENCE).unwrap();
    assert_eq!(name, "good", "the name that hangs has all that it gets");
    let_go.send(vec![address(1)]).unwrap();
    let (key, answer) = asker.next();
    assert_eq!((key, answer.unwrap()), (Key::Asked(1000), vec![address(1)]));

    // One ends, and the next lookup is for all who wait.
    let (_, first) = hanging.remove(0);
    first.send(vec![address(2)]).unwrap();
    let (_, last) = begun.recv_timeout(PATIENCE).unwrap();
    last.send(vec![address(3)]).unwrap();
    drop(hanging);
    let mut answers = HashMap::new();
    for _ in 0..FOR_ONE_NAME + 20 {
        let (key, answer) = asker.next();
        assert!(answers.insert(key, answer.ok()).is_none(), "{key:?} is answered twice");
    }
    let count = |answer: &Option<Vec<SocketAddr>>| answers.values().filter(|known| *known == answer).count();
    assert_eq!(count(&Some(vec![address(2)])), 1);
    assert_eq!(count(&Some(vec![address(3)])), 20, "those who came while it hung");
    assert_eq!(count(&None), FOR_ONE_NAME - 1);
    assert!(begun.try_recv().is_err(), "no further lookup was needed");
}

#[test]
fn the_number_of_threads_is_bounded_and_what_waits_comes_to_its_turn() {
    let (resolver, begun) = held();
    let mut asker = Asker::new();
    let names = THREADS + 10;
    let ask = |number: usize| resolver.ask(&format!("host-{number}"), Key::Asked(number), &asker.inbox);
    let _questions: Vec<_> = (0..names).map(ask).collect();
    let hanging: Vec<_> = (0..THREADS).map(|_| begun.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(resolver.shared.lock().threads, THREADS);
    assert!(begun.try_recv().is_err());
    drop(hanging);
    let releasing = thread::spawn(move || begun.iter().take(10).for_each(drop));
    for _ in 0..names {
        assert!(asker.next().1.is_err(), "whoever holds it has gone");
    }
    releasing.join().unwrap();
}

#[test]
fn a_good_name_is_looked_up_however_many_hang_and_however_often_they_are_asked_for() {
    let (resolver, begun) = held();
    let mut asker = Asker::new();
    let mut questions = Vec::new();
    for number in 0..200 {
        for _ in 0..FOR_ONE_NAME {
            questions.push(resolver.ask(&format!("hangs-{}", number % 50), Key::Asked(0), &asker.inbox));
        }
    }
    questions.push(resolver.ask("good", Key::Asked(1), &asker.inbox));
    // It is held by this thread only as long as the name is another.
    let mut hanging = Vec::new();
    loop {
        let (name, let_go) = begun.recv_timeout(PATIENCE).unwrap();
        if name == "good" {
            let_go.send(vec![address(1)]).unwrap();
            break;
        }
        hanging.push(let_go);
    }
    let (key, answer) = asker.next();
    assert_eq!((key, answer.unwrap()), (Key::Asked(1), vec![address(1)]));
}

#[test]
fn a_question_that_was_taken_back_is_not_answered() {
    let (resolver, begun) = held();
    let mut asker = Asker::new();
    let left = resolver.ask("a", Key::Asked(1), &asker.inbox);
    let (_, let_go) = begun.recv_timeout(PATIENCE).unwrap();
    drop(left);
    let_go.send(vec![address(1)]).unwrap();
    // The loop is woken when the answer is there.
    let mut events = Vec::new();
    asker.reactor.set_deadline(Key::Late, Some(Instant::now() + PATIENCE));
    asker.reactor.wait(&mut events).unwrap();
    assert!(events.iter().all(|event| event.key == Key::Answers), "nobody was woken");
    assert!(asker.inbox.next().is_none());
    let _kept = resolver.ask("b", Key::Asked(2), &asker.inbox);
    let (_, let_go) = begun.recv_timeout(PATIENCE).unwrap();
    let_go.send(vec![address(2)]).unwrap();
    assert_eq!(asker.next().0, Key::Asked(2));
    assert!(asker.inbox.next().is_none());
}

#[test]
fn loops_get_the_answers_to_their_own_questions() {
    let resolver = Resolver::new(|host: &str| Ok(vec![address(host.parse().unwrap())]));
    let (mut one, mut two) = (Asker::new(), Asker::new());
    let _first = resolver.ask("1", Key::Asked(1), &one.inbox);
    let _second = resolver.ask("2", Key::Asked(2), &two.inbox);
    assert_eq!(two.next().1.unwrap(), [address(2)]);
    assert_eq!(one.next().1.unwrap(), [address(1)]);
}

#[test]
fn threads_end_with_the_resolver() {
    /// Tells when the last thread has let go of the lookup.
    struct Tells(Mutex<Sender<()>>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.get_mut().unwrap().send(()).unwrap();
        }
    }
    let (tell, told) = mpsc::channel();
    let tells = Tells(Mutex::new(tell));
    let resolver = Resolver::new(move |_: &str| {
        let _held = &tells;
        Ok(Vec::new())
    });
    let mut asker = Asker::new();
    let _question = resolver.ask("a", Key::Asked(1), &asker.inbox);
    assert!(asker.next().1.unwrap().is_empty());
    assert!(told.try_recv().is_err());
    drop(resolver);
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_lookup_counts_among_the_descriptors_while_it_hangs() {
    let descriptors = Descriptors::limited_to(FOR_A_LOOKUP + 1);
    let (tell, begun) = mpsc::channel();
    let hangs = move |host: &str| {
        let (let_go, held) = mpsc::channel();
        tell.send((host.to_owned(), let_go)).map_err(io::Error::other)?;
        held.recv().map_err(io::Error::other)
    };
    let (resolver, mut asker) = (Resolver::new(counted(Arc::clone(&descriptors), hangs)), Asker::new());
    let _question = resolver.ask("hangs", Key::Asked(1), &asker.inbox);
    let (_, let_go): Begun = begun.recv_timeout(PATIENCE).unwrap();
    assert!(descriptors.take(2).is_none() && descriptors.take(1).is_some());
    let_go.send(vec![address(1)]).unwrap();
    assert!(asker.next().1.is_ok());
    assert!(descriptors.take(FOR_A_LOOKUP + 1).is_some());
}
