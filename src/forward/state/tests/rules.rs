//! What a table does not show.

use super::{A, B, Bench, C, GUARD, PLAIN, PROBE, RULE, SECOND, TENTH};
use crate::forward::state::{Action, Answer, Course, Input, Machine, Request, RuleId, Scope, Stop};

const OTHER: RuleId = RuleId(2);

fn answers(actions: &[Action]) -> Vec<Answer> {
    let answer = |action: &Action| if let Action::Answer(_, answer) = action { Some(*answer) } else { None };
    actions.iter().filter_map(answer).collect()
}

#[test]
fn a_destination_that_is_active_again_is_not_waited_for() {
    let mut bench = Bench::serving();
    bench.switch(B, PLAIN);
    assert_eq!(answers(&bench.wait()), [], "A is in use");
    let actions = bench.switch(A, PLAIN);
    assert_eq!(answers(&actions), [Answer::Switched], "now B is");
    assert!(bench.on(Input::Drained(A)).is_empty(), "late news of A, which is active");
    assert_eq!(answers(&bench.on(Input::Drained(B))), [Answer::Drained]);
    assert_eq!(bench.machine.rule(RULE).unwrap().destinations(), [A]);
}

#[test]
fn a_wait_covers_every_former_destination() {
    let mut bench = Bench::serving();
    bench.switch(B, PLAIN);
    bench.switch(C, PLAIN);
    assert_eq!(answers(&bench.wait()), []);
    assert_eq!(answers(&bench.on(Input::Drained(B))), [], "A is left");
    assert_eq!(answers(&bench.on(Input::Drained(A))), [Answer::Drained]);
    assert_eq!(answers(&bench.wait()), [Answer::Drained], "and again");
}

#[test]
fn all_who_wait_are_answered_but_those_who_left() {
    let mut bench = Bench::serving();
    bench.switch(B, PLAIN);
    for _ in 0..3 {
        bench.wait();
    }
    bench.on(Input::Left(Request(3)));
    let answered = bench.on(Input::Drained(A));
    let expected = [2, 4].map(|number| Action::Answer(Request(number), Answer::Drained));
    assert_eq!(
        answered.iter().filter(|action| matches!(action, Action::Answer(..))).collect::<Vec<_>>(),
        [&expected[0], &expected[1]]
    );
}

#[test]
fn a_wait_for_one_rule_is_not_held_up_by_another() {
    let mut bench = Bench::serving();
    bench.on(Input::Start { rule: OTHER, course: Course::all_to(C), paused: false });
    bench.switch(B, PLAIN);
    let wait = |scope, request| Input::Wait { scope, request: Request(request) };
    assert_eq!(answers(&bench.on(wait(Scope::Rules(vec![OTHER]), 10))), [Answer::Drained]);
    assert_eq!(answers(&bench.on(wait(Scope::Rules(vec![RULE]), 11))), []);
    assert_eq!(answers(&bench.on(Input::Drained(A))), [Answer::Drained]);
}

#[test]
fn a_guarded_switch_keeps_what_it_may_need_again() {
    let mut bench = Bench::serving();
    bench.switch(B, GUARD);
    bench.on(Input::Drained(A));
    assert_eq!(answers(&bench.wait()), [Answer::Drained], "nothing runs on A, which is kept");
    let actions = bench.on(Input::ConnectFailed(B));
    assert_eq!(actions[0], Action::Route(RULE, Course::all_to(A)));
    assert_eq!(answers(&actions), [Answer::RolledBack]);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn a_failure_after_the_guard_changes_nothing() {
    let mut bench = Bench::serving();
    bench.switch(B, GUARD);
    bench.on(Input::Drained(A));
    let actions = bench.deadline();
    assert!(actions.contains(&Action::Forget(A)) && actions.contains(&Action::Save), "{actions:?}");
    assert_eq!(answers(&actions), [Answer::Switched]);
    assert!(bench.on(Input::ConnectFailed(B)).is_empty());
}

#[test]
fn what_outlasts_us_is_what_stands() {
    let lasting = |bench: &Bench| bench.machine.rule(RULE).unwrap().lasting().unwrap().0;
    let mut bench = Bench::serving();
    bench.switch(B, GUARD);
    assert_eq!(lasting(&bench), Course::all_to(A), "B may fail yet");
    bench.deadline();
    assert_eq!(lasting(&bench), Course::all_to(B));
    bench.switch(C, PROBE);
    assert_eq!(lasting(&bench), Course::all_to(B));
    bench.on(Input::Probed { to: C, ok: true });
    assert_eq!(lasting(&bench), Course::all_to(C));
}

#[test]
fn a_share_that_fails_is_taken_away_whole() {
    let mut bench = Bench::serving();
    bench.switch(B, TENTH);
    bench.switch(B, super::How { weight: 50, ..GUARD });
    let actions = bench.on(Input::ConnectFailed(B));
    assert_eq!(actions[0], Action::Route(RULE, Course::all_to(A)), "not back to the tenth");
    assert_eq!(answers(&actions), [Answer::RolledBack]);
}

#[test]
fn a_later_switch_takes_the_place_of_one_that_is_probed() {
    let mut bench = Bench::serving();
    bench.switch(B, PROBE);
    let actions = bench.switch(C, PROBE);
    assert_eq!(answers(&actions), [Answer::Replaced]);
    assert!(actions.contains(&Action::EndProbe(B)) && actions.contains(&Action::Forget(B)), "{actions:?}");
    assert!(bench.on(Input::Probed { to: B, ok: true }).is_empty(), "nobody asks for B any more");
    let actions = bench.switch(C, PLAIN);
    assert!(!actions.contains(&Action::Forget(C)), "{actions:?}");
    assert_eq!(answers(&actions), [Answer::Replaced, Answer::Switched]);
}

#[test]
fn a_drain_that_takes_too_long_is_cut_and_that_is_told() {
    let mut bench = Bench::serving();
    bench.stop_rule(Stop::Drain(Some(SECOND)));
    bench.wait();
    let actions = bench.deadline();
    assert!(actions.contains(&Action::Cut(RULE)), "{actions:?}");
    assert_eq!(answers(&actions), [Answer::Cut], "that is not what the waiter waited for");
    let actions = bench.on(Input::Drained(A));
    assert_eq!(answers(&actions), [Answer::Stopped { late: true }]);
    assert!(bench.machine.rules().is_empty());
}

#[test]
fn the_last_word_on_a_stop_holds() {
    let mut bench = Bench::serving();
    bench.on(Input::Stop { stop: Stop::Drain(Some(SECOND)), request: Some(Request(1)) });
    bench.on(Input::Stop { stop: Stop::Drain(None), request: Some(Request(2)) });
    assert_eq!(bench.machine.deadline(), None);
    let actions = bench.on(Input::Stop { stop: Stop::Cut, request: None });
    assert_eq!(actions, [Action::Cut(RULE)]);
    let actions = bench.on(Input::Drained(A));
    assert_eq!(answers(&actions), [Answer::Stopped { late: false }; 2]);
    assert_eq!(actions.last(), Some(&Action::Finish));
}

#[test]
fn a_stop_without_rules_is_the_end_at_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.on(Input::Stop { stop: Stop::Cut, request: None }), [Action::Finish]);
}

/// The machine of another process that goes on where this one is.
fn taken_over(bench: &Bench) -> (Bench, Vec<Action>) {
    let mut actions = Vec::new();
    let rules = bench.machine.rules().to_vec();
    let waiters = bench.machine.waiters().map(|(request, scope)| (request, scope.clone())).collect();
    let mut next = Bench::new();
    next.now = bench.now;
    next.machine = Machine::go_on(rules, waiters, &mut actions);
    (next, actions)
}

#[test]
fn another_process_goes_on_with_former_destinations_and_those_who_wait() {
    let mut bench = Bench::serving();
    bench.switch(B, PLAIN);
    assert_eq!(answers(&bench.wait()), []);
    let (mut next, actions) = taken_over(&bench);
    assert_eq!(actions, [Action::Watch(A)], "nobody is answered: something runs on A");
    assert_eq!(answers(&next.on(Input::Drained(A))), [Answer::Drained]);
}

#[test]
fn another_process_goes_on_with_a_probe_and_with_a_guard() {
    let mut bench = Bench::serving();
    bench.switch(B, PROBE);
    let (mut next, actions) = taken_over(&bench);
    assert_eq!(actions, [Action::Probe(RULE, B)], "it is made again");
    assert_eq!(answers(&next.on(Input::Probed { to: B, ok: true })), [Answer::Switched]);

    let mut bench = Bench::serving();
    bench.switch(B, GUARD);
    let (next, _) = taken_over(&bench);
    assert_eq!(next.machine.deadline(), bench.machine.deadline());
    let (mut next, _) = taken_over(&next);
    assert_eq!(answers(&next.on(Input::ConnectFailed(B))), [Answer::RolledBack]);
}

#[test]
fn another_process_goes_on_with_a_drain_and_with_a_cut() {
    let mut bench = Bench::serving();
    bench.stop_rule(Stop::Drain(Some(SECOND)));
    let (mut next, actions) = taken_over(&bench);
    assert_eq!(actions, [Action::Watch(A)]);
    assert!(next.deadline().contains(&Action::Cut(RULE)));
    let (mut last, actions) = taken_over(&next);
    assert_eq!(actions, [Action::Watch(A), Action::Cut(RULE)]);
    assert_eq!(answers(&last.on(Input::Drained(A))), [Answer::Stopped { late: true }]);
}
