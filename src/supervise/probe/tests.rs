use super::{
    Input, LONGEST_LOOK, LONGEST_PAUSE, LONGEST_PAUSE_MISSED, PATIENCE, PAUSE, Probe, Question, REST, REST_TIME, Seen,
    Step, Way,
};
use crate::supervise::state::Number;
use std::time::{Duration, Instant};

/// A probe with a clock of its own.
struct Bench {
    probe: Probe,
    now: Instant,
}

impl Bench {
    fn new(question: Question, way: Way) -> Bench {
        let now = Instant::now();
        Bench { probe: Probe::new(question, way, "127.0.0.1:80".into(), now), now }
    }

    fn tcp() -> Bench {
        Bench::new(Question::Accept, Way::Shared)
    }

    fn http() -> Bench {
        Bench::new(Question::Get("/healthz".into()), Way::Shared)
    }

    /// One whose request is under way.
    fn asking() -> Bench {
        let mut bench = Bench::http();
        bench.open();
        assert_eq!(bench.seen(Seen::Ours), Some(Step::Ask));
        bench
    }

    fn on(&mut self, input: Input) -> Option<Step> {
        self.probe.on(self.now, input)
    }

    fn seen(&mut self, seen: Seen) -> Option<Step> {
        self.on(Input::Seen(seen))
    }

    fn due(&mut self) -> Option<Step> {
        self.now = self.probe.deadline().expect("a deadline");
        self.on(Input::Due)
    }

    /// Waits for the next try and opens it; tells how many connections it has.
    fn open(&mut self) -> usize {
        let Some(Step::Open(width)) = self.due() else { panic!("no try: {:?}", self.probe) };
        assert_eq!(self.on(Input::Opened), Some(Step::Look));
        width
    }

    fn says(&self) -> String {
        self.probe.to_string()
    }
}

#[test]
fn a_connection_that_the_generation_accepts_is_enough_for_tcp() {
    let mut bench = Bench::tcp();
    assert_eq!(bench.open(), 1);
    assert_eq!(bench.seen(Seen::Nobody), None);
    assert!(!bench.probe.is_passed());
    assert_eq!(bench.due(), Some(Step::Look));
    assert_eq!(bench.seen(Seen::Ours), Some(Step::Ready));
    assert!(bench.probe.is_done() && bench.probe.is_passed());
    assert_eq!(bench.probe.deadline(), None);
    assert_eq!(bench.on(Input::Due), None);
}

#[test]
fn a_look_that_is_not_at_its_end_goes_on_at_once_whatever_time_has_passed() {
    let mut bench = Bench::tcp();
    bench.open();
    bench.now += 2 * PATIENCE;
    for _ in 0..3 {
        assert_eq!(bench.seen(Seen::NotYet), None);
        assert_eq!(bench.probe.deadline(), Some(bench.now));
        assert_eq!(bench.due(), Some(Step::Look));
    }
    assert_eq!(bench.seen(Seen::Ours), Some(Step::Ready));
}

#[test]
fn it_is_looked_ever_more_seldom_and_each_try_has_its_limit() {
    let mut bench = Bench::tcp();
    bench.open();
    let begin = bench.now;
    let mut before = begin;
    let mut longest = Duration::ZERO;
    while bench.seen(Seen::Nobody).is_none() {
        assert_eq!(bench.due(), Some(Step::Look));
        longest = longest.max(bench.now - before);
        before = bench.now;
    }
    assert_eq!(longest, LONGEST_LOOK);
    assert!(bench.now - begin >= PATIENCE && bench.now - begin < PATIENCE + LONGEST_LOOK);
    assert_eq!(bench.says(), "the probe of 127.0.0.1:80 was accepted by nobody");
}

#[test]
fn a_record_in_its_own_channel_waits_there() {
    let mut bench = Bench::new(Question::Accept, Way::Channel);
    bench.open();
    for _ in 0..10_000 {
        assert_eq!(bench.seen(Seen::Nobody), None);
        assert_eq!(bench.due(), Some(Step::Look));
    }
    assert_eq!(bench.says(), "the probe of 127.0.0.1:80 was not read from the channel");
    assert_eq!(bench.seen(Seen::Unseen), Some(Step::Close), "it came by a channel that is used no more");
    assert_eq!(bench.open(), 1);
    assert_eq!(bench.seen(Seen::Ours), Some(Step::Ready));
}

#[test]
fn tries_come_ever_more_seldom() {
    let mut bench = Bench::tcp();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let Some(Step::Open(_)) = bench.due() else { panic!("{:?}", bench.probe) };
        assert_eq!(bench.on(Input::Unopened("refused".into())), Some(Step::Close));
        pauses.push(bench.probe.deadline().unwrap() - bench.now);
    }
    assert_eq!(pauses[..5], [1, 2, 4, 8, 16].map(|factor| PAUSE * factor));
    assert_eq!(pauses[5..], [LONGEST_PAUSE; 2]);
    assert_eq!(bench.says(), "the probe of 127.0.0.1:80 could not connect: refused");
}

#[test]
fn where_another_is_quicker_more_are_opened_at_once_up_to_a_bound() {
    let mut bench = Bench::tcp();
    let widths = [(); 6].map(|()| {
        let width = bench.open();
        assert_eq!(bench.seen(Seen::Another(Number(3))), Some(Step::Close));
        width
    });
    assert_eq!(widths, [1, 2, 4, 8, 8, 8]);
    assert_eq!(bench.probe.deadline().unwrap() - bench.now, LONGEST_PAUSE_MISSED, "that it waits is not its fault");
    assert_eq!(bench.says(), "the probe of 127.0.0.1:80 was accepted by generation 3");
    for (seen, says) in [
        (Seen::Unseen, "was closed before it could be seen who had accepted it"),
        (Seen::Stranger, "was accepted by a process that is none of this generation's"),
        (Seen::Blind("no".into()), "could not be followed: no"),
    ] {
        bench.open();
        assert_eq!(bench.seen(seen), Some(Step::Close));
        assert_eq!(bench.says(), format!("the probe of 127.0.0.1:80 {says}"));
        assert!(!bench.probe.is_passed());
    }
    bench.open();
    assert_eq!(bench.seen(Seen::Ours), Some(Step::Ready));
}

#[test]
fn an_answer_counts_by_its_status() {
    for status in [200, 204, 301, 399] {
        let mut bench = Bench::asking();
        assert_eq!(bench.on(Input::Answered(status)), Some(Step::Ready), "{status}");
        assert!(bench.probe.is_passed() && bench.probe.is_answered() && !bench.probe.is_done());
        assert_eq!(bench.on(Input::Ended), Some(Step::Close));
        assert!(bench.probe.is_done());
    }
    for status in [101, 400, 404, 500, 503, 999] {
        let mut bench = Bench::asking();
        assert_eq!(bench.on(Input::Answered(status)), None, "{status}");
        assert!(!bench.probe.is_passed());
        assert_eq!(bench.says(), format!("the probe of /healthz was answered {status}"));
        assert_eq!(bench.on(Input::Ended), Some(Step::Close));
        assert_eq!(bench.open(), 1);
        assert_eq!(bench.says(), format!("the probe of /healthz was answered {status}"), "until the next result");
    }
}

#[test]
fn what_it_answered_says_more_than_that_another_was_quicker() {
    let mut bench = Bench::asking();
    bench.on(Input::Answered(503));
    bench.on(Input::Ended);
    for seen in [Seen::Another(Number(1)), Seen::Unseen] {
        bench.open();
        assert_eq!(bench.seen(seen), Some(Step::Close));
        assert_eq!(bench.says(), "the probe of /healthz was answered 503");
    }
    let mut asked = Bench::http();
    asked.open();
    asked.seen(Seen::Another(Number(1)));
    asked.open();
    asked.seen(Seen::Ours);
    assert_eq!(asked.says(), "the probe of /healthz was not answered", "it has it now, and is silent");
    bench.due();
    bench.on(Input::Unopened("refused".into()));
    assert_eq!(bench.says(), "the probe of /healthz could not connect: refused");
}

#[test]
fn the_rest_of_an_answer_is_read_within_bounds() {
    for good in [true, false] {
        let mut bench = Bench::asking();
        bench.on(Input::Answered(if good { 200 } else { 500 }));
        assert_eq!(bench.on(Input::Read(REST - 1)), None);
        assert_eq!(bench.on(Input::Due), None);
        assert_eq!(bench.on(Input::Read(1)), Some(Step::Close));
        assert_eq!(bench.probe.is_done(), good);

        let mut bench = Bench::asking();
        let begin = bench.now;
        bench.on(Input::Answered(if good { 200 } else { 500 }));
        assert_eq!(bench.due(), Some(Step::Close));
        assert_eq!(bench.now - begin, REST_TIME);
        assert_eq!(bench.probe.is_done(), good);
    }
}

#[test]
fn what_is_no_good_answer_ends_the_try() {
    for (input, says) in [
        (Input::Garbage, "was answered with what is no HTTP/1"),
        (Input::Endless, "was answered with a head that has no end"),
        (Input::Ended, "was closed without an answer"),
    ] {
        let mut bench = Bench::asking();
        assert_eq!(bench.on(input), Some(Step::Close));
        assert_eq!(bench.says(), format!("the probe of /healthz {says}"));
        bench.open();
    }
    let mut bench = Bench::asking();
    assert_eq!(bench.says(), "the probe of /healthz was not answered", "not yet");
    let begin = bench.now;
    assert_eq!(bench.on(Input::Read(3)), None);
    assert_eq!(bench.due(), Some(Step::Close));
    assert_eq!(bench.now - begin, PATIENCE, "bytes that come slowly win no time");
    assert_eq!(bench.says(), "the probe of /healthz was not answered");
}

/// Every input in every phase, in any order: ready only ever follows what the generation itself did.
#[test]
fn whatever_happens_only_the_generation_itself_makes_itself_ready() {
    let mut seed = 5_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut ready, mut tries) = (0, 0);
    for round in 0..2000 {
        let mut bench = if round % 2 == 0 { Bench::tcp() } else { Bench::http() };
        let (mut open, mut asked) = (false, false);
        for _ in 0..60 {
            let input = match random(13) {
                12 => Input::Seen(Seen::NotYet),
                0..3 => Input::Due,
                3 => Input::Opened,
                4 => Input::Unopened("x".into()),
                5 => Input::Seen(Seen::Nobody),
                6 => Input::Seen(Seen::Ours),
                7 => Input::Seen(Seen::Another(Number(1))),
                8 => Input::Answered(if random(2) == 0 { 200 } else { 503 }),
                9 => Input::Read(random(40_000) as usize),
                10 => Input::Garbage,
                _ => Input::Ended,
            };
            if let Some(at) = bench.probe.deadline() {
                bench.now = bench.now.max(at);
            }
            let step = bench.on(input.clone());
            match step {
                Some(Step::Open(width)) => {
                    assert!(!open && (1..=8).contains(&width));
                    (open, tries) = (true, tries + 1);
                }
                Some(Step::Look) => assert!(open && !asked),
                Some(Step::Ask) => {
                    assert_eq!(input, Input::Seen(Seen::Ours));
                    assert!(open && !std::mem::replace(&mut asked, true));
                }
                Some(Step::Close) => {
                    assert!(open);
                    (open, asked) = (false, false);
                }
                Some(Step::Ready) => {
                    ready += 1;
                    let right = if bench.probe.path().is_none() {
                        input == Input::Seen(Seen::Ours)
                    } else {
                        asked && input == Input::Answered(200)
                    };
                    assert!(right && open, "{input:?}");
                }
                None => {}
            }
            assert_eq!(bench.probe.is_done(), bench.probe.deadline().is_none());
        }
    }
    assert!(ready > 100 && tries > 5000, "{ready} {tries}");
}
