//! The rules, one by one.

use super::{
    ASKED, Action, BUILT, Bench, Change, FIRST, Generation, Input, OVERLAP, PLAIN, Phase, Request, SECOND, SECOND_ONE,
    START, UP, Why,
};

const OTHER: Request = Request(2);
const THIRD: Generation = Generation(3);

#[test]
fn a_request_waits_for_the_server_that_a_change_brings() {
    let mut bench = Bench::after(PLAIN, &UP);
    assert_eq!(bench.on(START), [Action::End(FIRST)]);
    assert_eq!(bench.on(Input::Came(ASKED)), []);
    assert_eq!(bench.on(Input::Gone(FIRST)), [Action::Start(SECOND_ONE)]);
    assert_eq!(bench.on(Input::Came(OTHER)), []);
    let answered = bench.on(Input::Answered(SECOND_ONE));
    assert_eq!(
        answered,
        [Action::Reload(Change::Files), Action::Forward(ASKED, SECOND_ONE), Action::Forward(OTHER, SECOND_ONE)]
    );
}

#[test]
fn a_change_is_told_once_and_only_when_its_page_can_be_had() {
    let mut bench = Bench::after(PLAIN, &UP);
    for input in [START, START, Input::Gone(FIRST), START, Input::Gone(SECOND_ONE)] {
        let told = bench.on(input).iter().any(|action| matches!(action, Action::Reload(_)));
        assert!(!told, "{input:?}");
    }
    assert_eq!(bench.on(Input::Answered(THIRD)), [Action::Reload(Change::Files)]);
}

#[test]
fn changes_of_styles_alone_swap_styles() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Changed(Change::Styles));
    bench.on(Input::Gone(FIRST));
    assert_eq!(bench.on(Input::Answered(SECOND_ONE)), [Action::Reload(Change::Styles)]);

    bench.on(Input::Changed(Change::Styles));
    bench.on(START);
    bench.on(Input::Changed(Change::Styles));
    bench.on(Input::Gone(SECOND_ONE));
    assert_eq!(bench.on(Input::Answered(THIRD)), [Action::Reload(Change::Files)]);
}

#[test]
fn a_change_during_a_start_ends_that_start() {
    let mut bench = Bench::after(PLAIN, &[START]);
    assert_eq!(bench.on(START), [Action::End(FIRST)]);
    assert_eq!(bench.on(Input::Answered(FIRST)), [], "it has read the old files");
    assert_eq!(bench.on(Input::Gone(FIRST)), [Action::Start(SECOND_ONE)]);
}

#[test]
fn a_change_while_the_last_server_stops_is_read_by_the_next_one() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(START);
    assert_eq!(bench.on(START), []);
    assert_eq!(bench.on(Input::Gone(FIRST)), [Action::Start(SECOND_ONE)]);
    assert_eq!(bench.on(Input::Answered(SECOND_ONE)).len(), 1);
    assert_eq!(bench.gate.phase(), Phase::Up);
}

#[test]
fn a_change_behind_a_build_is_built_again() {
    let mut bench = Bench::after(BUILT, &[START, Input::Built(FIRST, true), Input::Answered(FIRST), START]);
    assert_eq!(bench.on(Input::Built(SECOND_ONE, true)), [Action::End(FIRST)]);
    assert_eq!(bench.on(START), []);
    assert_eq!(bench.on(Input::Gone(FIRST)), [Action::Build(THIRD)]);
}

#[test]
fn a_failed_build_keeps_the_server_and_says_so() {
    let mut bench = Bench::after(BUILT, &[START, Input::Built(FIRST, true), Input::Answered(FIRST), START]);
    assert_eq!(bench.on(Input::Came(ASKED)), [], "who asks after a save waits for what was saved");
    assert_eq!(bench.on(Input::Built(SECOND_ONE, false)), [Action::Alert, Action::Forward(ASKED, FIRST)]);
    assert!(bench.gate.has_failed());
    assert_eq!(bench.on(Input::Came(OTHER)), [Action::Forward(OTHER, FIRST)]);
    bench.on(START);
    bench.on(Input::Built(THIRD, true));
    bench.on(Input::Gone(FIRST));
    bench.on(Input::Answered(THIRD));
    assert!(!bench.gate.has_failed());
}

#[test]
fn with_overlap_the_last_server_answers_until_the_next_one_can() {
    let mut bench = Bench::after(OVERLAP, &UP);
    assert_eq!(bench.on(START), [Action::Start(SECOND_ONE)]);
    assert_eq!(bench.on(Input::Came(ASKED)), [Action::Forward(ASKED, FIRST)]);
    assert_eq!(bench.on(Input::Answered(SECOND_ONE)), [Action::Reload(Change::Files)]);
    assert_eq!(bench.on(Input::Came(OTHER)), [Action::Forward(OTHER, SECOND_ONE)]);
    assert_eq!(bench.on(Input::Done(ASKED)), [Action::End(FIRST)], "it has finished what it had");
}

#[test]
fn with_overlap_requests_in_progress_have_their_time_and_no_more() {
    let mut bench = Bench::after(OVERLAP, &UP);
    bench.on(Input::Came(ASKED));
    bench.on(START);
    bench.on(Input::Answered(SECOND_ONE));
    let switched = bench.now;
    assert_eq!(bench.in_time(), [Action::End(FIRST)]);
    assert_eq!(bench.now - switched, 2 * SECOND);
    assert_eq!(bench.in_time(), [Action::Kill(FIRST)]);
    assert_eq!(bench.now - switched, 4 * SECOND);
}

#[test]
fn with_overlap_a_version_that_fails_changes_nothing_but_is_told() {
    for fate in [Input::Exited(SECOND_ONE), Input::CannotRun(SECOND_ONE)] {
        let mut bench = Bench::after(OVERLAP, &UP);
        bench.on(START);
        let actions = bench.on(fate);
        assert!(actions.contains(&Action::Alert), "{fate:?}");
        assert!(!actions.iter().any(|action| matches!(action, Action::Reload(_))), "{fate:?}");
        assert_eq!(bench.on(Input::Came(ASKED)), [Action::Forward(ASKED, FIRST)]);
    }
}

#[test]
fn what_has_failed_is_told_with_what_comes_after_it() {
    let mut bench = Bench::after(OVERLAP, &UP);
    bench.on(START);
    assert!(bench.on(Input::CannotRun(SECOND_ONE)).contains(&Action::Alert));
    bench.on(Input::Changed(Change::Styles));
    assert_eq!(bench.on(Input::Answered(THIRD)), [Action::Reload(Change::Files), Action::End(FIRST)]);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let mut bench = Bench::after(PLAIN, &[START, Input::Came(ASKED)]);
    let began = bench.now;
    assert_eq!(bench.in_time(), [Action::Refuse(ASKED, Why::TooLong)]);
    assert_eq!(bench.now - began, 30 * SECOND);
    assert_eq!(bench.in_time(), [Action::End(FIRST), Action::Reload(Change::Files)]);
    assert_eq!(bench.now - began, 60 * SECOND);
    assert_eq!(bench.on(Input::Came(OTHER)), [Action::Refuse(OTHER, Why::Failed)]);
}

#[test]
fn a_server_that_dies_shows_why_and_waits_for_a_change() {
    let mut bench = Bench::after(PLAIN, &UP);
    assert_eq!(bench.on(Input::Exited(FIRST)), [Action::End(FIRST), Action::Reload(Change::Files)]);
    assert_eq!(bench.on(Input::Gone(FIRST)), []);
    assert_eq!(bench.gate.phase(), Phase::Failed);
    assert_eq!(bench.on(Input::Came(ASKED)), [Action::Refuse(ASKED, Why::Failed)]);
    assert_eq!(bench.on(START), [Action::Start(SECOND_ONE)]);
}

#[test]
fn nothing_starts_before_the_last_process_of_the_last_one_is_gone() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(START);
    assert_eq!(bench.on(Input::Exited(FIRST)), [], "its children may have the port");
    assert_eq!(bench.in_time(), [Action::Kill(FIRST)]);
    assert_eq!(bench.on(Input::Gone(FIRST)), [Action::Start(SECOND_ONE)]);
}

#[test]
fn what_cannot_be_killed_is_given_up_and_the_next_one_starts() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(START);
    assert_eq!(bench.in_time(), [Action::Kill(FIRST)]);
    let killed = bench.now;
    assert_eq!(bench.in_time(), [Action::GiveUp(FIRST), Action::Start(SECOND_ONE)]);
    assert_eq!(bench.now - killed, 5 * SECOND);
    bench.on(Input::Answered(SECOND_ONE));
    assert_eq!(bench.on(Input::Gone(FIRST)), [], "it has ended after all");
    assert_eq!(bench.gate.serving(), Some(SECOND_ONE));
}

#[test]
fn what_cannot_be_killed_does_not_hold_our_end() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Stop);
    assert_eq!(bench.on(Input::Stop), [Action::Kill(FIRST)]);
    assert_eq!(bench.in_time(), [Action::GiveUp(FIRST), Action::Exit]);
    assert_eq!(bench.on(Input::Gone(FIRST)), []);
}

#[test]
fn so_many_wait_and_the_others_are_told_to_come_again() {
    let mut bench = Bench::after(PLAIN, &[START]);
    for number in 1..4 {
        assert_eq!(bench.on(Input::Came(Request(number))), []);
    }
    assert_eq!(bench.on(Input::Came(Request(4))), [Action::Refuse(Request(4), Why::Full)]);
    bench.on(Input::Done(Request(2)));
    assert_eq!(bench.on(Input::Came(Request(5))), [], "one who leaves makes room");
    let released = bench.on(Input::Answered(FIRST));
    let order: Vec<_> = released.iter().skip(1).copied().collect();
    assert_eq!(order, [1, 3, 5].map(|number| Action::Forward(Request(number), FIRST)));
}

#[test]
fn a_request_that_dying_servers_have_lost_goes_to_the_next_one_each_time() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Came(ASKED));
    bench.on(START);
    assert_eq!(bench.on(Input::Lost(ASKED, true)), []);
    bench.on(Input::Gone(FIRST));
    assert!(bench.on(Input::Answered(SECOND_ONE)).contains(&Action::Forward(ASKED, SECOND_ONE)));
    // Another change comes before the answer.
    bench.on(START);
    assert_eq!(bench.on(Input::Lost(ASKED, true)), []);
    bench.on(Input::Gone(SECOND_ONE));
    assert!(bench.on(Input::Answered(THIRD)).contains(&Action::Forward(ASKED, THIRD)));
    // This one does not want it, and lives.
    assert_eq!(bench.on(Input::Lost(ASKED, true)), []);
    assert_eq!(bench.in_time(), [Action::Refuse(ASKED, Why::Lost)]);
}

/// Four seconds later the server is replaced and loses the request; what then becomes of that.
fn replaced(bench: &mut Bench, old: u64) -> Vec<Action> {
    bench.now += 4 * SECOND;
    let (old, next) = (Generation(old), Generation(old + 1));
    let mut actions = bench.on(START);
    // With overlap the next one is there already when the old one goes.
    for input in [Input::Answered(next), Input::Lost(ASKED, true), Input::Gone(old), Input::Answered(next)] {
        actions.extend(bench.on(input));
    }
    actions.retain(|action| matches!(action, Action::Forward(..) | Action::Refuse(..)));
    actions
}

#[test]
fn a_request_that_brings_each_restart_itself_is_sent_again_until_its_first_time_is_over() {
    // It counts from the first wait, and for one that has not waited from the first loss.
    for (inputs, last) in [([START, Input::Came(ASKED), UP[1]], 8), ([UP[0], UP[1], Input::Came(ASKED)], 9)] {
        for policy in [PLAIN, OVERLAP] {
            let mut bench = Bench::after(policy, &inputs);
            for old in 1..last {
                let again = Action::Forward(ASKED, Generation(old + 1));
                assert_eq!(replaced(&mut bench, old), [again], "{policy:?}");
            }
            assert_eq!(replaced(&mut bench, last), [Action::Refuse(ASKED, Why::TooLong)], "{policy:?}");
        }
    }
}

#[test]
fn a_request_that_was_lost_waits_for_the_next_server_until_its_first_time_is_over() {
    let mut bench = Bench::after(PLAIN, &[START, Input::Came(ASKED)]);
    let came = bench.now;
    bench.on(Input::Answered(FIRST));
    bench.now += 20 * SECOND;
    bench.on(START);
    assert_eq!(bench.on(Input::Lost(ASKED, true)), []);
    bench.on(Input::Gone(FIRST));
    assert_eq!(bench.in_time(), [Action::Refuse(ASKED, Why::TooLong)]);
    assert_eq!(bench.now - came, 30 * SECOND);
}

#[test]
fn a_request_that_was_lost_unseen_waits_for_news_of_its_server() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Came(ASKED));
    assert_eq!(bench.on(Input::Lost(ASKED, true)), []);
    assert!(bench.on(Input::Exited(FIRST)).contains(&Action::Refuse(ASKED, Why::Failed)));

    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Came(ASKED));
    bench.on(Input::Lost(ASKED, true));
    assert_eq!(bench.in_time(), [Action::Refuse(ASKED, Why::Lost)], "the server lives, and does not want it");
}

#[test]
fn a_request_does_not_go_back_to_the_server_that_has_lost_it() {
    let mut bench = Bench::after(BUILT, &[START, Input::Built(FIRST, true), Input::Answered(FIRST)]);
    bench.on(Input::Came(ASKED));
    bench.on(START);
    bench.on(Input::Lost(ASKED, true));
    assert_eq!(bench.on(Input::Built(SECOND_ONE, false)), [Action::Alert, Action::Refuse(ASKED, Why::Lost)]);
}

#[test]
fn a_stop_ends_all_and_a_second_one_kills() {
    let mut bench = Bench::after(OVERLAP, &UP);
    bench.on(START);
    assert_eq!(bench.on(Input::Stop), [Action::End(SECOND_ONE), Action::End(FIRST)]);
    assert_eq!(bench.on(Input::Came(ASKED)), [Action::Refuse(ASKED, Why::Ending)]);
    assert_eq!(bench.on(Input::Stop), [Action::Kill(FIRST), Action::Kill(SECOND_ONE)]);
    assert_eq!(bench.on(Input::Gone(FIRST)), []);
    assert_eq!(bench.on(START), []);
    assert_eq!(bench.on(Input::Gone(SECOND_ONE)), [Action::Exit]);
    assert_eq!(bench.on(Input::Stop), []);
}

#[test]
fn a_stop_answers_those_who_wait() {
    let mut bench = Bench::after(PLAIN, &[START, Input::Came(ASKED)]);
    assert_eq!(bench.on(Input::Stop), [Action::End(FIRST), Action::Refuse(ASKED, Why::Ending)]);
    assert_eq!(Bench::new(PLAIN).on(Input::Stop), [Action::Exit]);
}

#[test]
fn without_overlap_a_server_finishes_what_only_it_can_answer() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Came(ASKED));
    bench.on(Input::Came(OTHER));
    bench.on(Input::Bound(ASKED, true));
    assert_eq!(bench.on(START), [], "it is not asked to end yet");
    assert_eq!((bench.gate.phase(), bench.gate.serving()), (Phase::Stopping, None));
    assert_eq!(bench.on(Input::Came(Request(3))), [], "nobody else gets to it");
    assert_eq!(bench.on(Input::Done(ASKED)), [Action::End(FIRST)], "the other one can go elsewhere");
    assert_eq!(bench.on(Input::Lost(OTHER, true)), []);
    assert_eq!(bench.on(Input::Gone(FIRST)), [Action::Start(SECOND_ONE)]);
}

#[test]
fn without_overlap_it_has_its_time_for_that_and_no_more() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Came(ASKED));
    bench.on(Input::Bound(ASKED, true));
    bench.on(START);
    let asked = bench.now;
    assert_eq!(bench.in_time(), [Action::End(FIRST)]);
    assert_eq!(bench.now - asked, 2 * SECOND);
    assert_eq!(bench.on(Input::Lost(ASKED, false)), [Action::Refuse(ASKED, Why::Lost)]);
}

#[test]
fn a_request_that_binds_its_server_no_more_holds_nothing_up() {
    for inputs in [&[Input::Bound(ASKED, true), Input::Bound(ASKED, false)][..], &[]] {
        let mut bench = Bench::after(PLAIN, &UP);
        bench.on(Input::Came(ASKED));
        inputs.iter().for_each(|input| drop(bench.on(*input)));
        assert_eq!(bench.on(START), [Action::End(FIRST)]);
    }
}

#[test]
fn a_server_that_exits_while_it_finishes_is_ended_at_once() {
    for policy in [PLAIN, OVERLAP] {
        let mut bench = Bench::after(policy, &UP);
        bench.on(Input::Came(ASKED));
        bench.on(Input::Bound(ASKED, true));
        bench.on(START);
        bench.on(Input::Answered(SECOND_ONE));
        assert_eq!(bench.on(Input::Exited(FIRST)), [Action::End(FIRST)], "its children may be there still");
    }
}

#[test]
fn an_end_does_not_wait_for_requests() {
    let mut bench = Bench::after(PLAIN, &UP);
    bench.on(Input::Came(ASKED));
    bench.on(Input::Bound(ASKED, true));
    bench.on(START);
    assert_eq!(bench.on(Input::Stop), [Action::End(FIRST)]);
}
