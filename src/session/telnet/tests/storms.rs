//! Destinations that ask without end, and negotiations that could go on for ever.

use super::super::MOST_ANSWERED;
use super::super::negotiation::{Negotiation, State};
use super::*;
use std::collections::VecDeque;

#[test]
fn what_is_so_already_is_not_answered() {
    let mut telnet = spoken();
    let ask = [IAC, WILL, ECHO, IAC, DO, SGA, IAC, WONT, BINARY, IAC, DONT, COMPRESSION].repeat(10_000);
    let received = receive(&mut telnet, &ask);
    assert_eq!(received.answers, [IAC, DO, ECHO, IAC, WILL, SGA]);
    assert_eq!(received.events.len(), 2);
}

#[test]
fn each_change_has_one_answer_and_changes_at_one_place_are_one() {
    let mut telnet = spoken();
    let received = receive(&mut telnet, &[IAC, WILL, ECHO, IAC, WONT, ECHO].repeat(10_000));
    assert_eq!(received.answers, [IAC, DO, ECHO, IAC, DONT, ECHO].repeat(10_000));
    assert_eq!(received.events, [option(0, Side::Theirs, Known::Echo, false)]);
}

#[test]
fn a_refusal_is_said_as_often_as_it_is_asked_for() {
    // A destination may use DO TIMING-MARK to learn how far its words have come, again and again (RFC 860).
    let received = receive(&mut spoken(), &[IAC, DO, TIMING_MARK].repeat(100));
    assert_eq!(received.answers, [IAC, WONT, TIMING_MARK].repeat(100));
    assert_eq!(received.events, []);
}

#[test]
fn answers_are_never_much_longer_than_what_they_answer() {
    let long = Terminal::new(&"x".repeat(40), 65535, 65535);
    let words: [&[u8]; 6] = [
        &[IAC, DO, TERMINAL_TYPE],
        &[IAC, DO, WINDOW_SIZE],
        &[IAC, DONT, WINDOW_SIZE],
        &[IAC, DO, CHARSET],
        &[IAC, SB, TERMINAL_TYPE, 1, IAC, SE],
        &[IAC, SB, CHARSET, 1, b';', b'U', b'T', b'F', b'-', b'8', IAC, SE],
    ];
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut telnet = Telnet::new(random.pick(&[Mode::Auto, Mode::On]), long.clone());
        let bytes: Vec<u8> = (0..1000).flat_map(|_| random.pick(&words).to_vec()).collect();
        let received = receive(&mut telnet, &bytes);
        assert!(received.answers.len() <= MOST_ANSWERED * bytes.len(), "seed {seed}");
        assert!(received.events.len() <= 1 + 2 * Known::ALL.len(), "seed {seed}: {:?}", received.events);
    }
    let mut telnet = Telnet::new(Mode::On, long);
    receive(&mut telnet, &[IAC, DO, TERMINAL_TYPE]);
    let question = sub(TERMINAL_TYPE, &[1]);
    assert!(receive(&mut telnet, &question).answers.len() > (MOST_ANSWERED - 1) * question.len(), "the bound is close");
}

/// The words in what we said that negotiate: verbs and options.
fn words(mut bytes: &[u8]) -> Vec<[u8; 2]> {
    let mut words = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        assert_eq!(*first, IAC, "answers are commands");
        bytes = match *rest {
            [SB, ..] => {
                let end = rest.windows(2).position(|pair| pair == [IAC, SE]).unwrap();
                &rest[end + 2..]
            }
            [verb, option, ..] => {
                words.push([verb, option]);
                &rest[2..]
            }
            _ => panic!("half a command: {rest:?}"),
        };
    }
    words
}

#[test]
fn a_destination_that_answers_every_word_makes_no_loop() {
    // It takes every word for a question and agrees, as many did before RFC 1143. First it says at most one thing
    // of each side of an option.
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let mut turn = Vec::new();
        for option in [0, 1, 3, 24, 25, 31, 34, 42] {
            for verb in [random.pick(&[WILL, WONT]), random.pick(&[DO, DONT])] {
                if random.below(3) > 0 {
                    turn.extend([IAC, verb, option]);
                }
            }
        }
        let (mut telnet, mut received) = (spoken(), Received::default());
        for known in Known::ALL {
            telnet.request(random.pick(&[Side::Ours, Side::Theirs]), known, random.below(2) == 0, &mut received);
        }
        let mut turns = 0;
        while !turn.is_empty() {
            telnet.receive(&turn, &mut received);
            let said = words(&std::mem::take(&mut received.answers));
            turn = said.into_iter().flat_map(|[verb, option]| [IAC, answer(verb), option]).collect();
            turns += 1;
            assert!(turns < 6, "seed {seed}: still talking: {turn:?}");
        }
    }
}

/// The word that agrees to a word.
fn answer(word: u8) -> u8 {
    match word {
        WILL => DO,
        WONT => DONT,
        DO => WILL,
        _ => WONT,
    }
}

/// Two ends by the Q method, with words under way between them, that change their minds all the time.
#[test]
fn two_ends_agree_in_the_end_whatever_they_want_meanwhile() {
    let known = Known::Binary;
    for seed in 0..5000 {
        let mut random = Random::new(seed);
        let mut ends = [Negotiation::default(), Negotiation::default()];
        let mut under_way = [VecDeque::new(), VecDeque::new()];
        let mut said = 0;
        let mut wishes = 0;
        for step in 0.. {
            let end = random.below(2);
            // A side that is ours here is theirs there.
            let side = if end == 0 { Side::Ours } else { Side::Theirs };
            let outcome = if step < 60 && random.below(3) == 0 {
                wishes += 1;
                ends[end].wants(side, known, random.below(2) == 0)
            } else if let Some(on) = under_way[end].pop_front() {
                ends[end].hears(side, known, on)
            } else if step > 60 && under_way.iter().all(VecDeque::is_empty) {
                break;
            } else {
                continue;
            };
            if let Some(on) = outcome.say {
                said += 1;
                under_way[1 - end].push_back(on);
            }
            assert!(under_way.iter().all(|words| words.len() <= 2), "seed {seed}");
        }
        let states = [ends[0].state(Side::Ours, known), ends[1].state(Side::Theirs, known)];
        assert!(matches!(states, [State::Yes, State::Yes] | [State::No, State::No]), "seed {seed}: {states:?}");
        assert!(said <= 4 * wishes, "seed {seed}: {said} words for {wishes} wishes");
    }
}
