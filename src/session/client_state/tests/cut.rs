//! Cut anywhere, come back, equal: each stream is the same at both ends, and the destination saw one connection.

use super::world::{Budget, Last, WHOLE, World, copy};
use super::{Random, pattern};
use crate::session::client_state::{Client, Next, Progress, Settings};
use crate::session::frame::{Closed, Detached, Mode, Refusal};

const OUTPUT: usize = 500;
const INPUT: usize = 250;

/// One exchange from NEW to CLOSED. The first connection has this budget, and the others are whole.
fn exchange(first: Budget) -> World {
    let (mut world, input) = (World::new(pattern(OUTPUT, 0)), pattern(INPUT, 1));
    let (mut typed, mut budget, mut turns) = (0, Some(first), 0);
    while !is_over(&world) {
        turns += 1;
        assert!(turns < 1000, "cut after {} up, {} down: no end", first.up, first.down);
        if !world.is_connected(0) {
            world.connect(0, budget.take().unwrap_or(WHOLE));
        }
        let now = world.now;
        let seat = &mut world.seats[0];
        typed += seat.client.input(&input[typed..(typed + 70).min(INPUT)]);
        if typed == INPUT {
            seat.client.finish();
        }
        seat.deal(now);
        if !world.step(0, 70) {
            world.pass();
        }
    }
    world
}

/// The client was told so; or the last word got lost, and then there is no such session any more.
fn is_over(world: &World) -> bool {
    let seat = &world.seats[0];
    match seat.last {
        Some(Last::Closed(reason)) => reason == Closed::Complete,
        Some(Last::Refused(Refusal::Denied)) => world.has_ended(),
        _ => false,
    }
}

fn check(world: &World, cut: &str) {
    assert!(world.seats[0].seen == pattern(OUTPUT, 0), "cut after {cut}: another output");
    assert!(world.remote.got == pattern(INPUT, 1), "cut after {cut}: another input");
    assert_eq!((world.remote.connects, world.remote.shut), (1, 1), "cut after {cut}");
    assert!(world.seats[0].uncertain.is_empty(), "cut after {cut}");
}

#[test]
fn a_connection_may_be_cut_at_every_byte_of_the_whole_exchange() {
    let whole = exchange(WHOLE);
    check(&whole, "nothing");
    assert_eq!(whole.seats[0].attached, 1);
    let (up, down) = whole.passed;
    assert!(up > INPUT + 100 && down > OUTPUT + 100, "{up} and {down}");
    for count in 1..=up.max(down) {
        // Every other server notices too late.
        let noticed = count.is_multiple_of(2);
        if count <= up {
            check(&exchange(Budget { up: count, noticed, ..WHOLE }), &format!("{count} up"));
        }
        if count <= down {
            check(&exchange(Budget { down: count, noticed: !noticed, ..WHOLE }), &format!("{count} down"));
        }
    }
}

#[test]
fn what_a_cut_beginning_leaves_behind_is_gone_soon_and_was_never_connected() {
    // The answer to NEW is lost, and nobody comes again.
    let mut world = World::new(pattern(OUTPUT, 0));
    world.connect(0, Budget { down: 70, ..WHOLE });
    while world.is_connected(0) {
        world.step(0, 70);
    }
    assert_eq!((world.sessions.len(), world.seats[0].attached), (1, 0));
    world.pass();
    assert_eq!((world.sessions.len(), world.remote.connects), (0, 0));
}

#[test]
fn many_random_cuts_lose_and_repeat_nothing() {
    let mut cuts = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (output, input) = (pattern(20_000, 0), pattern(10_000, 1));
        let (mut world, mut typed) = (World::new(output.clone()), 0);
        while !is_over(&world) {
            if !world.is_connected(0) {
                cuts += 1;
                let noticed = random.below(2) == 0;
                let few = random.below(4) == 0;
                let mut bytes = || if few { 1 + random.below(300) } else { 200 + random.below(4000) };
                let budget = Budget { up: bytes(), down: bytes(), noticed };
                world.connect(0, budget);
            }
            let now = world.now;
            let seat = &mut world.seats[0];
            typed += seat.client.input(&input[typed..(typed + random.below(200)).min(input.len())]);
            if typed == input.len() {
                seat.client.finish();
            }
            if random.below(3) > 0 {
                seat.deal(now);
            }
            if !world.step(0, 1 + random.below(400)) {
                world.pass();
            }
        }
        assert!(world.seats[0].seen == output && world.remote.got == input, "seed {seed}");
        assert_eq!((world.remote.connects, world.remote.shut), (1, 1), "seed {seed}");
        assert!(world.seats[0].uncertain.is_empty(), "seed {seed}");
    }
    assert!(cuts > 1000, "{cuts} cuts");
}

#[test]
fn a_client_that_is_killed_goes_on_from_what_it_has_kept() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let (output, input) = (pattern(5000, 0), pattern(3000, 1));
        let (mut world, mut typed) = (World::new(output.clone()), 0);
        // What was kept last: after a word was typed and before it was sent, and after output was dealt with.
        let mut kept: Option<Progress> = None;
        while !is_over(&world) {
            if !world.is_connected(0) {
                kept = world.seats[0].client.ticket().map(|_| world.seats[0].client.progress());
                world.connect(0, Budget { up: 100 + random.below(2000), down: 100 + random.below(2000), ..WHOLE });
            }
            let now = world.now;
            let seat = &mut world.seats[0];
            typed += seat.client.input(&input[typed..(typed + random.below(200)).min(input.len())]);
            if typed == input.len() {
                seat.client.finish();
            }
            if random.below(3) > 0 {
                seat.deal(now);
            }
            if let Some(before) = kept.replace(seat.client.progress()).filter(|_| random.below(20) == 0) {
                let progress = Progress { epoch: before.epoch.max(seat.client.progress().epoch), ..before };
                let ticket = seat.client.ticket().map(copy);
                world.cut(0);
                if let Some(ticket) = ticket {
                    restart(&mut world, ticket, &progress);
                    typed = progress.input as usize + progress.queued.len();
                    kept = Some(progress);
                }
                continue;
            }
            if !world.step(0, 1 + random.below(400)) {
                world.pass();
            }
        }
        assert!(world.seats[0].seen == output, "seed {seed}");
        assert!(world.remote.got == input, "seed {seed}");
        assert_eq!((world.remote.connects, world.remote.shut), (1, 1), "seed {seed}");
    }
}

/// Another process with what the first one had kept: it sees some of the output again.
fn restart(world: &mut World, ticket: crate::session::client_state::Ticket, progress: &Progress) {
    let now = world.now;
    let settings = Settings { window: 150, input: 120, ..Settings::default() };
    let seat = &mut world.seats[0];
    seat.seen.truncate(progress.output as usize);
    (seat.end, seat.last) = (None, None);
    seat.client = Client::resume(now, settings, ticket, progress.clone());
}

/// A session with one attached client that has seen and sent something.
fn open() -> World {
    let mut world = World::new(pattern(5000, 0));
    world.connect(0, WHOLE);
    world.seats[0].client.input(b"first ");
    settle(&mut world);
    assert_eq!(world.remote.got, b"first ");
    world
}

fn settle(world: &mut World) {
    let all = |world: &mut World| (0..world.seats.len()).filter(|seat| world.step(*seat, 500)).count() > 0;
    while all(world) {}
}

#[test]
fn whoever_is_taken_over_stays_away_until_it_is_asked_back() {
    let mut world = open();
    world.seats[0].client.input(b"mine ");
    let second = world.join(Mode::Steal, Progress::default());
    world.connect(second, WHOLE);
    world.seats[second].client.input(b"yours ");
    settle(&mut world);
    assert_eq!(world.seats[0].last, Some(Last::Detached(Detached::TakenOver)));
    assert_eq!(world.seats[0].client.next(), Next::Asked);
    for _ in 0..100 {
        world.pass();
        settle(&mut world);
    }
    assert_eq!((world.seats[0].attached, world.seats[second].attached), (1, 1));
    // It goes on where the other one has come to, with what it had not sent.
    let now = world.now;
    world.seats[0].client.ask(now);
    world.connect(0, WHOLE);
    settle(&mut world);
    assert_eq!(world.seats[second].client.next(), Next::Asked);
    let (got, uncertain) = (world.remote.got.clone(), &world.seats[0].uncertain);
    let sent_early = got == b"first mine yours " && uncertain.is_empty();
    assert!(sent_early || got == b"first yours mine ", "{:?}", String::from_utf8_lossy(&got));
}

#[test]
fn a_hundred_lost_answers_change_nothing_but_the_epoch() {
    let mut world = open();
    world.cut(0);
    for _ in 0..100 {
        // HELLO comes, ACCEPT does not.
        world.connect(0, Budget { down: 70, noticed: false, ..WHOLE });
        while world.is_connected(0) {
            world.step(0, 500);
        }
    }
    world.seats[0].client.input(b"last");
    world.connect(0, WHOLE);
    settle(&mut world);
    assert_eq!(world.remote.got, b"first last");
    assert_eq!((world.seats[0].client.progress().epoch, world.seats[0].attached), (102, 2));
}

#[test]
fn observers_and_writers_displace_nobody() {
    let mut world = open();
    let writer = world.join(Mode::Input, Progress { input: 6, ..Progress::default() });
    let observer = world.join(Mode::Observe, Progress::default());
    world.connect(observer, WHOLE);
    world.connect(writer, WHOLE);
    world.seats[writer].client.input(b"by the way ");
    settle(&mut world);
    assert_eq!(world.remote.got, b"first by the way ");
    assert!(world.is_connected(0) && world.seats[0].last.is_none());
    let (seen, all) = (&world.seats[observer].seen, &world.output);
    assert!(!seen.is_empty() && all.starts_with(seen));
    assert!(world.seats[writer].seen.is_empty());
}

#[test]
fn a_writer_that_sees_no_output_hears_that_its_destination_is_gone() {
    let mut world = open();
    // Nobody hears the end of the output, so the session stays.
    world.cut(0);
    let writer = world.join(Mode::Input, Progress { input: 6, ..Progress::default() });
    world.connect(writer, WHOLE);
    settle(&mut world);
    assert!(world.remote.sent > 0, "there is output that it does not see");
    world.break_off();
    world.seats[writer].client.input(b"too late");
    while world.step(writer, 64) {}
    assert!(world.is_connected(writer), "{:?}", world.seats[writer].last);
    assert_eq!(world.seats[writer].client.undelivered(), b"too late", "and knows that nobody has taken it");
}

#[test]
fn input_that_a_writer_has_overtaken_is_not_sent_twice_and_not_lost_in_silence() {
    let mut world = open();
    world.cut(0);
    world.seats[0].client.input(b"typed while it was cut");
    let writer = world.join(Mode::Input, Progress { input: 6, ..Progress::default() });
    world.connect(writer, WHOLE);
    world.seats[writer].client.input(b"by the way, ");
    settle(&mut world);
    world.connect(0, WHOLE);
    settle(&mut world);
    assert_eq!(world.remote.got, b"first by the way, typed while it was cut");
    assert!(world.seats[0].uncertain.is_empty());
}

#[test]
fn a_client_and_a_writer_send_at_once_and_nothing_is_lost_or_repeated() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = open();
        let writer = world.join(Mode::Input, Progress { input: 6, ..Progress::default() });
        world.connect(writer, WHOLE);
        let (mine, theirs) = (vec![b'm'; 2000], vec![b't'; 2000]);
        let mut typed = [0; 2];
        for _ in 0..4000 {
            if !world.is_connected(0) {
                let budget = Budget { up: 150 + random.below(900), down: 150 + random.below(3000), ..WHOLE };
                world.connect(0, budget);
            }
            for (place, (seat, all)) in [(0, &mine), (writer, &theirs)].into_iter().enumerate() {
                let next = (typed[place] + random.below(60)).min(all.len());
                typed[place] += world.seats[seat].client.input(&all[typed[place]..next]);
            }
            let now = world.now;
            world.seats[0].deal(now);
            let moved = [0, writer].map(|seat| world.step(seat, 1 + random.below(100)));
            if moved == [false, false] {
                world.pass();
            }
            if world.remote.got.len() == 4006 {
                break;
            }
        }
        let count = |letter| world.remote.got[6..].iter().filter(|byte| **byte == letter).count();
        assert_eq!((count(b'm'), count(b't')), (2000, 2000), "seed {seed}");
        assert!(world.seats.iter().all(|seat| seat.uncertain.is_empty()), "seed {seed}");
    }
}
