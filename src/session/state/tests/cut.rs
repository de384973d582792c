//! Cut anywhere, resume, equal: whatever is lost with a connection, no byte is missing or there twice at either end.

use super::policy;
use super::world::{Random, World};
use crate::session::credential::Mac;
use crate::session::frame::{Closed, Frame, Mode};
use crate::session::state::{Connection, Input};

/// The client has confirmed, the destination is there.
fn open() -> World {
    let mut world = World::new(policy());
    world.say(Connection(1), &Frame::Confirm(Mac([0; 32])));
    world.up(Connection(1), usize::MAX);
    world.remote.connected = true;
    world.feed(Input::Connected);
    world
}

/// One exchange that ends well, with a connection that is cut when so many bytes have passed one way; then another.
/// How many bytes passed, if it was not cut.
fn exchange(cut_at: usize, upwards: bool, noticed: bool) -> Option<usize> {
    let mut world = open();
    (world.client.typed, world.client.finished) = (450, true);
    let (mut connection, mut passed, mut whole) = (Connection(1), 0, true);
    for round in 0..500 {
        if round < 6 {
            world.produce(130);
        } else {
            world.eof();
        }
        world.transmit(connection, 90);
        world.speak(connection, 70, 600);
        let pipe = &world.pipes[&connection];
        let under_way = if upwards { pipe.up.len() } else { pipe.down.len() };
        if whole && passed + under_way >= cut_at {
            if upwards {
                world.up(connection, cut_at - passed);
            } else {
                world.down(connection, cut_at - passed);
            }
            whole = false;
            world.cut(connection);
            if noticed {
                world.notice(connection);
            }
            if world.over.is_some() {
                break;
            }
            connection = world.resume(Mode::Steal, world.client.received).unwrap();
            continue;
        }
        passed += under_way;
        world.down(connection, usize::MAX);
        world.up(connection, usize::MAX);
        world.consume(60);
        world.check();
        if world.over.is_some() {
            break;
        }
    }
    assert_eq!(world.over, Some(Closed::Complete), "cut at {cut_at}");
    // What the client has acknowledged with the end, it has received; the destination has all input, and its end once.
    assert_eq!((world.client.received, world.remote.sent), (780, 780), "cut at {cut_at}");
    assert_eq!((world.remote.got, world.remote.shut, world.remote.connects), (450, true, 1), "cut at {cut_at}");
    whole.then_some(passed)
}

#[test]
fn a_connection_may_be_cut_at_every_byte() {
    for (upwards, noticed) in [(false, true), (false, false), (true, true), (true, false)] {
        let all = exchange(usize::MAX, upwards, noticed).unwrap();
        assert!(all > 600, "{all}");
        for cut_at in 0..all {
            exchange(cut_at, upwards, noticed);
        }
    }
}

#[test]
fn many_random_cuts_lose_and_repeat_nothing() {
    let mut all = 0;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut world = open();
        let mut connection = Connection(1);
        let mut cuts = 0;
        while world.client.received < 20_000 || world.remote.got < 10_000 {
            assert!(cuts < 20_000, "no end: {seed}");
            world.produce(random.below(400) as usize);
            world.client.typed = (world.client.typed + random.below(100)).min(world.client.acknowledged + 500);
            world.transmit(connection, random.below(600) as usize);
            world.down(connection, random.below(400) as usize);
            world.speak(connection, random.below(150), 100 + random.below(1000) as u32);
            world.up(connection, random.below(300) as usize);
            world.consume(random.below(200) as usize);
            world.check();
            if random.one_in(12) {
                cuts += 1;
                world.cut(connection);
                if random.one_in(2) {
                    world.notice(connection);
                }
                connection = world.resume(Mode::Steal, world.client.received).unwrap();
            }
        }
        assert_eq!(world.remote.connects, 1);
        all += cuts;
    }
    assert!(all > 3000, "{all} cuts");
}

#[test]
fn a_hundred_lost_answers_change_nothing_but_the_epoch() {
    let mut world = open();
    world.produce(300);
    world.cut(Connection(1));
    for _ in 0..100 {
        let connection = world.resume(Mode::Steal, world.client.received).unwrap();
        world.cut(connection);
    }
    assert_eq!((world.session.epoch(), world.taken_over), (101, 100));
    let connection = world.resume(Mode::Steal, 0).unwrap();
    world.pump(connection);
    assert_eq!(world.client.received, 300);
}

#[test]
fn late_bytes_of_one_that_was_taken_over_are_nothing() {
    let mut world = open();
    world.client.typed = 100;
    world.pump(Connection(1));
    world.client.typed = 150;
    world.speak(Connection(1), 50, 600);
    let second = world.resume(Mode::Steal, 0).unwrap();
    // They arrive behind the fence …
    world.up(Connection(1), usize::MAX);
    assert_eq!(world.session.bytes_in().0, 100);
    // … and come once, by the one that is attached.
    world.pump(second);
    world.pump(second);
    assert_eq!((world.session.bytes_in().0, world.remote.got), (150, 150));
}

#[test]
fn what_comes_while_nobody_is_there_waits_for_somebody() {
    let mut world = open();
    world.cut(Connection(1));
    world.notice(Connection(1));
    for _ in 0..100 {
        world.produce(130);
        world.check();
    }
    assert_eq!((world.remote.sent, world.remote.stopped), (1000, true), "the destination waits at the limit");
    let connection = world.resume(Mode::Steal, 0).unwrap();
    while world.client.received < 100_000 {
        world.produce(130);
        world.pump(connection);
        world.check();
    }
}

/// Two clients that both believe to be the one: there is one for each epoch, and no byte of input is there twice.
#[test]
fn two_clients_that_race_are_never_both_attached() {
    let mut world = open();
    let mut random = Random::new(1);
    let mut both = [Connection(1), Connection(1)];
    for epoch in 2..1000 {
        let mine = epoch as usize % 2;
        world.client.typed = (world.client.typed + 20).min(world.client.acknowledged + 500);
        both[mine] = world.resume(Mode::Steal, world.client.received).unwrap();
        assert_eq!((world.session.epoch(), world.session.client()), (epoch, Some(both[mine])));
        for _ in 0..6 {
            let connection = both[random.below(2) as usize];
            world.transmit(connection, 100);
            world.down(connection, random.below(300) as usize);
            world.speak(connection, 30, 600);
            world.up(connection, random.below(100) as usize);
            world.consume(usize::MAX);
            world.check();
        }
    }
    assert_eq!(world.taken_over, 998);
    assert!(world.remote.got > 5000 && world.remote.connects == 1, "{}", world.remote.got);
}
