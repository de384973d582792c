//! Several clients of one session.

use std::io::Write;

use super::place::{Chaos, Destination, Place, Talk, read};
use crate::harness::process::Exit;
use crate::harness::{eventually, trials};

trials![
    one_client_at_a_time_has_a_state_file,
    whoever_comes_last_has_the_session_and_the_other_one_is_told,
    a_client_whose_connection_is_dead_is_taken_over_at_once,
    input_that_others_have_overtaken_is_told_and_not_sent_again,
];

fn one_client_at_a_time_has_a_state_file() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let mut client = place.client(&["--follow"]);
    let mut stream = destination.accept();
    for ways in [&["--follow"][..], &[], &["--new"]] {
        let ended = place.client(ways).end().expect(1);
        ended.says("the state file ").says(" is used by another client").says("hint: ");
    }
    client.say("mine\n");
    assert_eq!(read(&mut stream, 5), "mine\n");
    client.kill();
    place.poll("\n").expect(0);
}

/// The same session in another file, as on another machine.
fn copied(place: &Place) -> &'static str {
    let copy = place.scene.path("copy");
    std::fs::copy(place.state(), copy).unwrap();
    "copy"
}

fn whoever_comes_last_has_the_session_and_the_other_one_is_told() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    place.poll("\n").expect(0);
    let mut stream = destination.accept();
    let copy = copied(&place);
    let start = |state: &str| place.start(place.command(place.port, state, &["--follow"]));
    let mut holder = start("state");
    for round in 0..20 {
        holder.say(&format!("{round:02}\n"));
        assert_eq!(read(&mut stream, 3), format!("{round:02}\n"));
        let next = start(if round % 2 == 0 { copy } else { "state" });
        let ended = std::mem::replace(&mut holder, next).finish().expect(1);
        ended.says("another client has taken the session over").says("hint: run it again to take the session back");
    }
    holder.say("end\n");
    assert_eq!(read(&mut stream, 4), "end\n", "nothing came twice");
    // Two at once: one of them has it in the end.
    holder.kill();
    for _ in 0..20 {
        let mut both = [Some(start("state")), Some(start(copy))];
        let runs = |talk: &mut Option<Talk>| {
            let running = talk.as_ref().is_some_and(|talk| crate::harness::process::alive(talk.pid()));
            if !running && let Some(talk) = talk.take() {
                talk.finish().expect(1).says("another client has taken the session over");
            }
            running
        };
        eventually("one of them is gone", || both.iter_mut().filter_map(|talk| runs(talk).then_some(())).count() == 1);
        let mut winner = both.into_iter().flatten().next().unwrap();
        winner.say("won\n");
        assert_eq!(read(&mut stream, 4), "won\n");
        assert_eq!(winner.kill().exit, Exit::Signal(nix::sys::signal::Signal::SIGKILL));
    }
    assert!(destination.is_alone());
}

fn a_client_whose_connection_is_dead_is_taken_over_at_once() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    let mut old = place.start(place.command(chaos.port(), "state", &["--follow"]));
    let mut stream = destination.accept();
    stream.write_all(b"seen\n").unwrap();
    old.prints("seen\n");
    eventually("it is kept", || std::fs::read_to_string(place.state()).unwrap().contains("output 5\n"));
    let copy = copied(&place);
    chaos.freeze(true);
    old.say("late\n");
    stream.write_all(b"for the next one\n").unwrap();
    let mut new = place.start(place.command(place.port, copy, &["--follow"]));
    new.prints("for the next one\n");
    new.say("first\n");
    assert_eq!(read(&mut stream, 6), "first\n");
    // What the old one has sent comes late, and counts no more.
    chaos.freeze(false);
    old.finish().expect(1).says("another client has taken the session over");
    new.say("second\n");
    assert_eq!(read(&mut stream, 7), "second\n");
    new.kill();
    assert!(destination.is_alone());
}

fn input_that_others_have_overtaken_is_told_and_not_sent_again() {
    let destination = Destination::new();
    let place = Place::new(&destination.endpoint());
    let chaos = Chaos::new(place.port);
    place.poll("\n").expect(0);
    let mut stream = destination.accept();
    let copy = copied(&place);
    // Behind RESUME: nobody knows whether it went.
    chaos.plan([super::place::Cut { up: 119, down: usize::MAX }]);
    place.poll_by(chaos.port(), "state", "doubtful\n").expect(1).says("10 bytes of input have not arrived");
    place.poll_by(place.port, copy, "other\n").expect(0);
    place.poll_by(place.port, copy, "another\n").expect(0);
    assert_eq!(read(&mut stream, 16), "other\r\nanother\r\n");
    let ended = place.poll("certain\n").expect(0);
    ended.says("this may have arrived or not, and is not sent again: \"doubtful\\r\\n");
    assert_eq!(read(&mut stream, 9), "certain\r\n");
    place.poll("last\n").expect(0);
    assert_eq!(read(&mut stream, 6), "last\r\n");
    assert!(destination.is_alone());
}
