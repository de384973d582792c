//! Those who only look: what they are told, and what comes of what they have seen.

use super::rules::BROKE;
use super::{Bench, ONE, TWO, ack, dismissed};
use crate::session::frame::{Frame, Mode};
use crate::session::state::{Action, Connection, Input};

/// What an observer is told first: how much of the output has arrived.
pub(super) fn arrived(offset: u64, next: u8) -> String {
    format!("Event {{ offset: {offset}, kind: 6, body: [0, 0, 0, 0, 0, 0, 0, {next}] }}")
}

#[test]
fn an_observer_is_told_how_much_has_arrived() {
    let mut bench = Bench::attached();
    bench.output(100);
    bench.says(ONE, ack(70, 100));
    for (connection, from) in [(TWO, 0), (Connection(3), 90)] {
        bench.attach(connection, Mode::Observe, from).0.unwrap();
        let told = [arrived(from, 70), format!("DATA {from}+{}", 100 - from)];
        assert_eq!(bench.sent(connection), told, "the scrollback before has arrived, and is there");
        assert_eq!(bench.sent(connection), Vec::<String>::new(), "once");
    }
}

#[test]
fn what_an_observer_has_seen_counts_where_there_is_no_client() {
    let mut bench = Bench::attached();
    bench.output(1000);
    bench.attach(TWO, Mode::Observe, 0).0.unwrap();
    bench.says(TWO, Frame::Seen { next: 800 });
    assert_eq!(bench.session.buffered(), 1000, "that is the client's business");
    bench.on(Input::Left(ONE));
    assert!(bench.says(TWO, Frame::Seen { next: 800 }).contains(&Action::ReadOn));
    assert_eq!((bench.session.buffered(), bench.session.client(), bench.session.epoch()), (200, None, 1));
    bench.says(TWO, Frame::Seen { next: 700 });
    assert_eq!(bench.session.buffered(), 200, "nothing is taken back");
    // Whoever has been the client comes as the next one.
    assert_eq!(bench.attach(ONE, Mode::Steal, 900).0.unwrap().epoch, 2);
    assert_eq!(bench.says(TWO, Frame::Seen { next: 1001 }), [dismissed(TWO, BROKE)]);
    assert_eq!(bench.says(ONE, Frame::Seen { next: 900 }), [dismissed(ONE, BROKE)]);
}

#[test]
fn a_slow_observer_gets_a_gap_and_holds_nobody_up() {
    let mut bench = Bench::attached();
    bench.attach(TWO, Mode::Observe, 0).0.unwrap();
    for round in 1..=5 {
        bench.output(500);
        bench.sent(ONE);
        bench.says(ONE, ack(500 * round, 600));
    }
    assert_eq!(bench.session.bytes_out(), (2500, 2200));
    let arrived = "Event { offset: 2200, kind: 6, body: [0, 0, 0, 0, 0, 0, 9, 196] }";
    assert_eq!(bench.sent(TWO), ["Gap { from: 0, to: 2200 }", arrived], "all 2500 have");
    bench.says(TWO, ack(2200, 600));
    assert_eq!(bench.sent(TWO), ["DATA 2200+120", "DATA 2320+120", "DATA 2440+60"]);
}
