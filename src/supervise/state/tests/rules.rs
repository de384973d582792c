//! What the table does not show: order, times, counts.

use super::{Bench, MILLISECOND, SECOND, policy};
use crate::supervise::state::{
    Action, Cause, Failure, Finish, Input, Number, Outcome, Policy, Readiness, Report, Request, Word,
};
use std::time::Duration;

fn report(request: u64, outcome: Outcome) -> Action {
    Action::Report(Report { request: Request(request), outcome })
}

fn drain(number: u64) -> Action {
    Action::Drain { number: Number(number), signal: false, take_back: true }
}

/// As the last one is drained at a stop.
fn drain_last(number: u64) -> Action {
    Action::Drain { number: Number(number), signal: false, take_back: false }
}

#[test]
fn a_switch_takes_back_from_the_old_before_the_new_gets_anything() {
    let mut bench = Bench::reloading(policy());
    let switch = bench.on(Input::Ready(Number(2), Word::Channel));
    let expected =
        [drain(1), Action::Serve(Number(2)), Action::Pass(Number(2)), report(1, Outcome::Switched(Number(2)))];
    assert_eq!(switch, expected);
}

#[test]
fn a_child_that_does_not_use_its_channel_drains_by_signal() {
    let mut bench = Bench::new(Policy { readiness: Readiness::Auto, ..policy() });
    bench.start();
    bench.on(Input::Spawned(Number(1)));
    assert_eq!(bench.deadline(), [Action::Serve(Number(1)), Action::Pass(Number(1))]);
    bench.on(Input::Stop);
    bench.on(Input::Emptied);
    assert_eq!(bench.on(Input::Emptied), [Action::Drain { number: Number(1), signal: true, take_back: false }]);
}

#[test]
fn being_alive_for_a_second_is_ready_only_until_some_generation_has_spoken() {
    let mut bench = Bench::new(Policy { readiness: Readiness::Auto, ..policy() });
    bench.start();
    bench.on(Input::Spawned(Number(1)));
    assert_eq!(bench.machine.deadline(), Some(bench.now + SECOND));
    bench.on(Input::Spoke(Number(1), Word::Channel));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 60 * SECOND), "it will say so itself");
    bench.on(Input::Ready(Number(1), Word::Channel));
    bench.reload();
    bench.on(Input::Spawned(Number(2)));
    assert_eq!(bench.machine.deadline(), Some(bench.now + 60 * SECOND), "and so will its successors");
}

#[test]
fn alive_means_the_time_and_not_the_word() {
    let mut bench = Bench::new(Policy { readiness: Readiness::Alive(3 * SECOND), ..policy() });
    bench.start();
    bench.on(Input::Spawned(Number(1)));
    bench.on(Input::Spoke(Number(1), Word::Channel));
    assert_eq!(bench.on(Input::Ready(Number(1), Word::Channel)), []);
    let start = bench.now;
    assert_eq!(bench.deadline(), [Action::Serve(Number(1)), Action::Pass(Number(1))]);
    assert_eq!(bench.now, start + 3 * SECOND);
}

#[test]
fn requests_coalesce_to_one_in_flight_and_one_pending_and_the_newest_wins() {
    let mut bench = Bench::serving(policy());
    assert_eq!(bench.reload(), [Action::Spawn(Number(2))]);
    bench.on(Input::Spawned(Number(2)));
    assert_eq!(bench.reload(), []);
    for later in 3..1000 {
        assert_eq!(bench.reload(), [report(later - 1, Outcome::Replaced)]);
    }
    let switch = bench.on(Input::Ready(Number(2), Word::Channel));
    assert_eq!(
        switch[2..],
        [Action::Pass(Number(2)), report(1, Outcome::Switched(Number(2))), Action::Spawn(Number(3))]
    );
    assert_eq!(bench.machine.cause(Number(3)), Some(Cause::Reload(Request(999))));
}

#[test]
fn a_start_that_is_not_ready_after_two_seconds_gives_way_to_a_later_reload_but_not_twice_in_a_row() {
    let mut bench = Bench::reloading(policy());
    let start = bench.now;
    bench.pass(SECOND);
    assert_eq!(bench.reload(), []);
    let given_way = bench.deadline();
    assert_eq!(bench.now, start + 2 * SECOND);
    let replaced = report(1, Outcome::Replaced);
    assert_eq!(given_way, [replaced, Action::Kill(Number(2)), Action::Spawn(Number(3))]);
    bench.on(Input::Spawned(Number(3)));
    bench.pass(10 * SECOND);
    assert_eq!(bench.reload(), [], "the third has its whole time");
    assert_eq!(bench.deadline()[0], report(2, Outcome::Failed(Number(3), Failure::NotReady)));
    bench.on(Input::Spawned(Number(4)));
    bench.pass(3 * SECOND);
    assert_eq!(bench.reload()[0], report(3, Outcome::Replaced), "late enough: at once");
    assert_eq!(bench.machine.serving(), Some(Number(1)));
}

#[test]
fn a_pending_reload_begins_when_the_start_before_it_has_failed() {
    let mut bench = Bench::reloading(policy());
    bench.reload();
    let failed = bench.exited(2);
    let expected =
        [report(1, Outcome::Failed(Number(2), Failure::Exited)), Action::Remove(Number(2)), Action::Spawn(Number(3))];
    assert_eq!(failed, expected);
    assert_eq!(bench.machine.serving(), Some(Number(1)));
}

#[test]
fn a_first_generation_that_never_serves_ends_the_supervisor() {
    let never = |failure| Action::Finish(Finish::NeverServed(Number(1), failure));
    let started = || {
        let mut bench = Bench::new(policy());
        bench.start();
        bench
    };
    let failed = started().on(Input::SpawnFailed(Number(1)));
    assert_eq!(failed, [Action::CloseListeners, never(Failure::Spawn)]);
    let failed = started().exited(1);
    assert_eq!(failed, [Action::Remove(Number(1)), Action::CloseListeners, never(Failure::Exited)]);
    let mut bench = started();
    bench.reload();
    bench.pass(60 * SECOND);
    let late = bench.on(Input::Deadline);
    assert_eq!(late, [Action::Kill(Number(1)), Action::Spawn(Number(2))], "for the reload that waits");
}

#[test]
fn a_first_generation_that_is_never_ready_is_killed_and_then_it_ends() {
    let mut bench = Bench::new(policy());
    bench.start();
    assert_eq!(bench.deadline(), [Action::Kill(Number(1)), Action::CloseListeners]);
    let finish = Finish::NeverServed(Number(1), Failure::NotReady);
    assert_eq!(bench.exited(1), [Action::Remove(Number(1)), Action::Finish(finish)]);
}

#[test]
fn a_crash_after_a_good_run_is_answered_at_once_and_the_next_ones_with_growing_delays() {
    let mut bench = Bench::serving(policy());
    let mut delays = Vec::new();
    for number in 1..14 {
        let crashed = bench.now;
        let mut actions = bench.exited(number);
        if !actions.contains(&Action::Spawn(Number(number + 1))) {
            actions = bench.deadline();
        }
        assert!(actions.contains(&Action::Spawn(Number(number + 1))));
        delays.push((bench.now - crashed).as_millis());
        bench.on(Input::Spawned(Number(number + 1)));
        bench.on(Input::Ready(Number(number + 1), Word::Channel));
        bench.pass(300 * MILLISECOND);
    }
    assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
    bench.pass(SECOND);
    assert!(bench.exited(14).contains(&Action::Spawn(Number(15))), "a good run: at once again");
}

#[test]
fn respawns_that_fail_to_start_are_retried_and_a_reload_does_not_wait_for_the_delay() {
    let mut bench = Bench::serving(policy());
    bench.exited(1);
    assert_eq!(bench.on(Input::SpawnFailed(Number(2))), []);
    assert_eq!(bench.machine.deadline(), Some(bench.now + 100 * MILLISECOND));
    assert_eq!(bench.reload(), [Action::Spawn(Number(3))]);
    assert_eq!(bench.on(Input::SpawnFailed(Number(3))), [report(1, Outcome::Failed(Number(3), Failure::Spawn))]);
    assert_eq!(bench.machine.deadline(), Some(bench.now + 200 * MILLISECOND));
    assert_eq!(bench.deadline(), [Action::Spawn(Number(4))]);
}

#[test]
fn a_crash_during_a_reload_waits_for_the_new_generation() {
    let mut bench = Bench::reloading(policy());
    assert_eq!(bench.exited(1), [Action::Remove(Number(1))]);
    assert_eq!(
        bench.on(Input::Ready(Number(2), Word::Channel))[..2],
        [Action::Serve(Number(2)), Action::Pass(Number(2))]
    );
}

#[test]
fn it_gives_up_after_so_many_failed_respawns() {
    let mut bench = Bench::serving(Policy { max_respawns: Some(2), ..policy() });
    bench.exited(1);
    bench.on(Input::SpawnFailed(Number(2)));
    bench.deadline();
    let last = bench.on(Input::SpawnFailed(Number(3)));
    assert_eq!(last, [Action::CloseListeners, Action::Finish(Finish::GaveUp)]);
    let mut bench = Bench::serving(Policy { max_respawns: Some(0), ..policy() });
    let last = bench.exited(1);
    assert_eq!(last, [Action::Remove(Number(1)), Action::CloseListeners, Action::Finish(Finish::GaveUp)]);
}

#[test]
fn stop_first_lets_the_old_one_go_before_the_new_one_comes() {
    let mut bench = Bench::serving(Policy { stop_first: true, ..policy() });
    assert_eq!(bench.reload(), [drain(1)]);
    assert_eq!(bench.reload(), [report(1, Outcome::Replaced)], "the newest wins here too");
    assert_eq!(bench.exited(1), [Action::Remove(Number(1)), Action::Spawn(Number(2))]);
    bench.on(Input::Spawned(Number(2)));
    let failed = bench.exited(2);
    assert_eq!(failed[..2], [report(2, Outcome::Failed(Number(2), Failure::Exited)), Action::Remove(Number(2))]);
    assert_eq!(failed[2..], [Action::Spawn(Number(3))], "nobody serves: the old command comes back at once");
    assert_eq!(bench.machine.cause(Number(3)), Some(Cause::Respawn));
}

#[test]
fn a_parked_generation_serves_again_when_its_successor_dies_within_the_guard() {
    let mut bench = Bench::reloading(Policy { guard: 5 * SECOND, ..policy() });
    assert_eq!(bench.on(Input::Ready(Number(2), Word::Channel))[0], Action::Park(Number(1)));
    let back = bench.exited(2);
    assert_eq!(back, [Action::Remove(Number(2)), Action::Serve(Number(1)), Action::Pass(Number(1))]);
    let mut bench = Bench::reloading(Policy { guard: 5 * SECOND, ..policy() });
    bench.on(Input::Ready(Number(2), Word::Channel));
    assert_eq!(bench.deadline(), [drain(1)], "the guard is over");
}

#[test]
fn a_stop_passes_what_is_held_then_closes_then_drains() {
    let mut bench = Bench::reloading(policy());
    let first = bench.on(Input::Stop);
    let by_signal_too = Action::Drain { number: Number(2), signal: true, take_back: true };
    assert_eq!(first, [report(1, Outcome::Stopping), by_signal_too], "one that starts does not look at its channel");
    assert_eq!(bench.on(Input::Emptied), [Action::CloseListeners]);
    assert_eq!(bench.on(Input::Emptied), [drain_last(1)], "nobody else would serve what it has not read");
    assert_eq!(bench.exited(2), [Action::Remove(Number(2))]);
    assert_eq!(bench.exited(1), [Action::Remove(Number(1)), Action::Finish(Finish::Stopped)]);
}

#[test]
fn each_further_stop_is_more_urgent_and_a_kill_shows_in_the_end() {
    let mut bench = Bench::serving(policy());
    bench.on(Input::Stop);
    assert_eq!(bench.on(Input::Stop), [Action::CloseListeners, drain_last(1), Action::Terminate(Number(1))]);
    assert_eq!(bench.on(Input::Stop), [Action::Kill(Number(1))]);
    assert_eq!(bench.on(Input::Stop), []);
    assert_eq!(bench.exited(1), [Action::Remove(Number(1)), Action::Finish(Finish::Killed)]);
}

#[test]
fn a_stop_is_bounded_by_its_timeout_then_term_then_kill() {
    let mut bench = Bench::serving(Policy { drain_timeout: None, ..policy() });
    let start = bench.now;
    bench.on(Input::Stop);
    assert_eq!(bench.deadline(), [Action::CloseListeners, drain_last(1)]);
    assert_eq!(bench.now, start + 15 * SECOND, "half the time to pass on what is held, the rest for the drain");
    assert_eq!(bench.deadline(), [Action::Terminate(Number(1))]);
    assert_eq!(bench.now, start + 30 * SECOND);
    assert_eq!(bench.deadline(), [Action::Kill(Number(1))]);
    assert_eq!(bench.now, start + 40 * SECOND);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn a_group_that_outlives_its_drained_leader_has_the_time_of_the_drain() {
    let mut bench = Bench::reloading(policy());
    bench.on(Input::Ready(Number(2), Word::Channel));
    let start = bench.now;
    let leader_only = Input::Exited { number: Number(1), survivors: true };
    assert_eq!(bench.on(leader_only), []);
    assert_eq!(bench.deadline(), [Action::CheckGroup(Number(1))]);
    assert_eq!(bench.on(leader_only), []);
    let mut last = Vec::new();
    while !last.contains(&Action::Terminate(Number(1))) {
        last = bench.deadline();
        assert!(bench.now <= start + 20 * SECOND);
    }
    assert_eq!(bench.exited(1), [Action::Remove(Number(1))]);
}

#[test]
fn without_a_limit_a_drain_takes_as_long_as_it_needs() {
    let mut bench = Bench::reloading(Policy { drain_timeout: None, ..policy() });
    bench.on(Input::Ready(Number(2), Word::Channel));
    assert_eq!(bench.machine.deadline(), None);
    let mut bench = Bench::reloading(Policy { drain_timeout: Some(Duration::MAX), ..policy() });
    bench.on(Input::Ready(Number(2), Word::Channel));
    assert_eq!(bench.machine.deadline(), None, "past the end of the clock");
}

#[test]
fn a_group_that_is_killed_after_its_leader_has_gone_is_removed_at_the_next_look() {
    let mut bench = Bench::reloading(policy());
    bench.on(Input::Ready(Number(2), Word::Channel));
    let leader_only = Input::Exited { number: Number(1), survivors: true };
    bench.on(leader_only);
    let mut last = Vec::new();
    while !last.contains(&Action::Kill(Number(1))) {
        last = bench.deadline();
        assert!(!last.is_empty());
    }
    assert_eq!(bench.deadline(), [Action::CheckGroup(Number(1))]);
    assert_eq!(bench.on(leader_only), [Action::Remove(Number(1))]);
}

#[test]
fn a_serving_child_that_can_be_given_nothing_any_more_is_replaced() {
    let mut bench = Bench::serving(policy());
    assert_eq!(bench.on(Input::Broke(Number(1))), [Action::Kill(Number(1)), Action::Spawn(Number(2))]);
    assert_eq!(bench.exited(1), [Action::Remove(Number(1))]);
}

#[test]
fn failures_before_a_good_run_do_not_count_after_it() {
    let mut bench = Bench::serving(Policy { max_respawns: Some(2), stop_first: true, ..policy() });
    bench.exited(1);
    bench.on(Input::SpawnFailed(Number(2)));
    bench.deadline();
    bench.on(Input::Spawned(Number(3)));
    bench.on(Input::Ready(Number(3), Word::Channel));
    bench.pass(10 * SECOND);
    bench.reload();
    bench.exited(3);
    let failed = bench.on(Input::SpawnFailed(Number(4)));
    let reported = report(1, Outcome::Failed(Number(4), Failure::Spawn));
    assert_eq!(failed, [reported, Action::Spawn(Number(5))], "the old command again, at once");
}
