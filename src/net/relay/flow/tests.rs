use super::{Flow, Input, Progress, Side, Step, Way};

mod walk;

const NOTHING: fn(Way) -> bool = |_| false;

#[test]
fn an_end_of_file_is_passed_on_and_the_other_direction_goes_on() {
    let mut flow = Flow::default();
    assert!(!flow.is_half_closed());
    flow.on(Input::End(Way::Up));
    assert!(flow.is_half_closed());
    assert_eq!(flow.next(NOTHING), Some(Step::PassOn(Way::Up)));
    assert_eq!(flow.next(NOTHING), None);
    assert!(!flow.is_last(Way::Up));
    assert!(!flow.reads(Way::Up) && flow.reads(Way::Down) && flow.delivers(Way::Down));
    flow.on(Input::End(Way::Down));
    assert_eq!(flow.next(NOTHING), Some(Step::PassOn(Way::Down)));
    assert!(flow.is_last(Way::Down));
    assert_eq!(flow.next(NOTHING), Some(Step::Close));
}

#[test]
fn an_end_of_file_waits_for_the_bytes_before_it() {
    let mut flow = Flow::default();
    flow.on(Input::End(Way::Down));
    assert_eq!(flow.next(|way| way == Way::Down), None);
    assert!(!flow.reads(Way::Down) && flow.reads(Way::Up));
    assert_eq!(flow.next(NOTHING), Some(Step::PassOn(Way::Down)));
}

#[test]
fn a_reset_is_passed_on_behind_the_last_byte() {
    for side in [Side::Client, Side::Destination] {
        let mut flow = Flow::default();
        flow.on(Input::Reset(side));
        assert!(flow.reads(side.sends()), "what it sent before is still to be read");
        assert!(!flow.reads(side.other().sends()) && !flow.delivers(side.other().sends()));
        assert_eq!(flow.next(NOTHING), None);
        flow.on(Input::End(side.sends()));
        assert_eq!(flow.next(|way| way == side.sends()), None);
        assert_eq!(flow.next(|way| way != side.sends()), Some(Step::Reset(side.other())));
    }
}

#[test]
fn a_reset_after_the_end_of_file_is_still_passed_on() {
    let mut flow = Flow::default();
    flow.on(Input::End(Way::Up));
    assert_eq!(flow.next(NOTHING), Some(Step::PassOn(Way::Up)));
    flow.on(Input::Reset(Side::Client));
    assert_eq!(flow.next(NOTHING), Some(Step::Reset(Side::Destination)));
    // The destination's end of file changes nothing about it.
    flow.on(Input::End(Way::Down));
    assert_eq!(flow.progress(Way::Down), Progress::Broken);
    assert_eq!(flow.next(NOTHING), Some(Step::Reset(Side::Destination)));
}

#[test]
fn both_sides_reset_leave_nothing_to_be_done() {
    let mut flow = Flow::default();
    flow.on(Input::Reset(Side::Client));
    flow.on(Input::Reset(Side::Destination));
    assert_eq!(flow.next(|_| true), Some(Step::Close));
}

#[test]
fn a_connection_goes_on_elsewhere_from_where_it_was() {
    let mut flow = Flow::resumed(Progress::PassedOn, Progress::Ended);
    assert_eq!(flow.next(|way| way == Way::Down), None);
    assert_eq!(flow.next(NOTHING), Some(Step::PassOn(Way::Down)));
    assert_eq!(flow.next(NOTHING), Some(Step::Close));
}
