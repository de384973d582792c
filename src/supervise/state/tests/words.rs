//! What children say: by which way it counts, the time that they ask for, and the watch over them.

use super::{Bench, SECOND, policy};
use crate::supervise::state::{
    Action, Failure, Finish, Input, Number, Outcome, Policy, Readiness, Report, Request, Word,
};
use std::time::Duration;

const ONE: Number = Number(1);
const TWO: Number = Number(2);

fn started(readiness: Readiness) -> Bench {
    let mut bench = Bench::new(Policy { readiness, ..policy() });
    bench.start();
    bench.on(Input::Spawned(ONE));
    bench
}

fn watched(every: Option<Duration>) -> Bench {
    Bench::serving(Policy { watchdog: every, ..policy() })
}

#[test]
fn each_way_of_being_ready_takes_its_own_word_and_auto_the_first() {
    let words = [Word::Channel, Word::Notify, Word::Descriptor, Word::Acknowledge, Word::Probe];
    let rules: [(Readiness, &[Word]); 6] = [
        (Readiness::Auto, &[Word::Channel, Word::Notify, Word::Acknowledge]),
        (Readiness::Channel, &[Word::Channel]),
        (Readiness::Notify, &[Word::Notify]),
        (Readiness::Descriptor, &[Word::Descriptor]),
        (Readiness::Probe, &[Word::Probe]),
        (Readiness::Alive(SECOND), &[]),
    ];
    for (readiness, counting) in rules {
        for word in words {
            let mut bench = started(readiness);
            bench.on(Input::Ready(ONE, word));
            let serves = bench.machine.serving() == Some(ONE);
            assert_eq!(serves, counting.contains(&word), "{readiness:?} {word:?}");
        }
    }
}

#[test]
fn only_the_channel_drains_by_its_end() {
    let mut bench = started(Readiness::Auto);
    bench.on(Input::Spoke(ONE, Word::Notify));
    bench.on(Input::Ready(ONE, Word::Notify));
    bench.reload();
    bench.on(Input::Spawned(TWO));
    let switch = bench.on(Input::Ready(TWO, Word::Notify));
    assert_eq!(switch[0], Action::Drain { number: ONE, signal: true, take_back: true });
}

#[test]
fn one_that_tells_what_it_does_is_waited_for_and_its_successors_only_after_it_said_ready() {
    let mut bench = started(Readiness::Auto);
    bench.on(Input::Spoke(ONE, Word::Notify));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 60 * SECOND));
    bench.on(Input::Ready(ONE, Word::Notify));
    bench.reload();
    bench.on(Input::Spawned(TWO));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 60 * SECOND));

    let mut bench = started(Readiness::Auto);
    bench.deadline();
    assert_eq!(bench.machine.serving(), Some(ONE), "alive for a second");
    bench.on(Input::Spoke(ONE, Word::Notify));
    bench.reload();
    bench.on(Input::Spawned(TWO));
    assert_eq!(
        bench.machine.deadline(),
        Some(bench.now + SECOND),
        "it never says that it is ready, so why should they"
    );
}

#[test]
fn a_start_that_needs_longer_gets_it_and_never_less() {
    let mut bench = started(Readiness::Notify);
    let start = bench.now;
    bench.on(Input::Extend(ONE, SECOND));
    assert_eq!(bench.machine.deadline(), Some(start + 60 * SECOND), "it had that much already");
    bench.pass(59 * SECOND);
    bench.on(Input::Extend(ONE, 30 * SECOND));
    assert_eq!(bench.machine.deadline(), Some(start + 89 * SECOND));
    assert_eq!(bench.deadline()[0], Action::Kill(ONE));
    bench.on(Input::Extend(ONE, 30 * SECOND));
    assert_eq!(bench.machine.deadline(), None, "too late");
    let mut bench = started(Readiness::Notify);
    let year = 365 * 24 * 3600 * SECOND;
    bench.on(Input::Extend(ONE, year));
    assert_eq!(bench.machine.deadline(), Some(bench.now + year), "no more than that bounds it");
    let mut bench = started(Readiness::Notify);
    bench.on(Input::Extend(ONE, Duration::MAX));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 60 * SECOND), "past the end of the clock");
}

#[test]
fn a_drain_that_needs_longer_gets_it_unless_it_had_no_limit_or_is_pressed_already() {
    let mut bench = Bench::reloading(policy());
    bench.on(Input::Ready(TWO, Word::Channel));
    bench.pass(19 * SECOND);
    bench.on(Input::Extend(ONE, 40 * SECOND));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 40 * SECOND));
    assert_eq!(bench.deadline(), [Action::Terminate(ONE)]);
    bench.on(Input::Extend(ONE, 40 * SECOND));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 10 * SECOND), "KILL comes when it comes");
    let mut bench = Bench::reloading(Policy { drain_timeout: None, ..policy() });
    bench.on(Input::Ready(TWO, Word::Channel));
    bench.on(Input::Extend(ONE, SECOND));
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn one_that_serves_must_say_that_it_lives() {
    let mut bench = watched(Some(15 * SECOND));
    bench.on(Input::Alive(ONE));
    let last = bench.now;
    bench.pass(14 * SECOND);
    bench.on(Input::Alive(ONE));
    assert_eq!(bench.machine.deadline(), Some(last + 29 * SECOND));
    assert_eq!(bench.deadline(), [Action::Abort(ONE), Action::Spawn(TWO)]);
    assert_eq!(bench.deadline()[0], Action::Kill(ONE), "ten seconds later, if it is still there");
    assert_eq!(bench.exited(1), [Action::Remove(ONE)]);
}

#[test]
fn the_watch_begins_with_the_switch() {
    let mut bench = Bench::new(Policy { watchdog: Some(SECOND), ..policy() });
    bench.start();
    bench.on(Input::Spawned(ONE));
    bench.on(Input::Alive(ONE));
    bench.pass(5 * SECOND);
    assert_eq!(bench.on(Input::Deadline), []);
    bench.on(Input::Ready(ONE, Word::Channel));
    assert_eq!(bench.machine.deadline(), Some(bench.now + SECOND));
}

#[test]
fn a_child_sets_its_own_watchdog_and_ends_it() {
    let mut bench = watched(None);
    bench.on(Input::Alive(ONE));
    assert_eq!(bench.machine.deadline(), None, "nobody asked for a watch");
    bench.on(Input::Watch(ONE, Some(3 * SECOND)));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 3 * SECOND));
    bench.on(Input::Watch(ONE, None));
    assert_eq!(bench.machine.deadline(), None);
    bench.on(Input::Watch(ONE, Some(Duration::MAX)));
    assert_eq!(bench.machine.deadline(), None, "past the end of the clock");
}

#[test]
fn one_that_says_that_it_hangs_has_failed_or_crashed() {
    let mut bench = Bench::reloading(policy());
    let failed = Action::Report(Report { request: Request(1), outcome: Outcome::Failed(TWO, Failure::Hung) });
    assert_eq!(bench.on(Input::Hung(TWO)), [failed, Action::Kill(TWO)]);
    assert_eq!(bench.machine.serving(), Some(ONE));
    assert_eq!(bench.on(Input::Hung(ONE)), [Action::Abort(ONE), Action::Spawn(Number(3))]);
    assert_eq!(bench.on(Input::Hung(ONE)), [], "it is on its way out");
    let mut bench = Bench::serving(Policy { max_respawns: Some(0), ..policy() });
    let last = bench.on(Input::Hung(ONE));
    assert_eq!(last, [Action::Abort(ONE), Action::CloseListeners]);
    assert_eq!(bench.exited(1), [Action::Remove(ONE), Action::Finish(Finish::GaveUp)]);
}
