//! A seeded random walk: two peers that send, end and reset as they like, sockets that block as they like, and a relay
//! that does what [`Flow`] says. Every byte arrives in its order, ends come behind the bytes, and it always comes to an end.

use super::super::{Flow, Input, Side, Step, Way};
use std::collections::VecDeque;

/// A small generator of numbers that are the same for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

/// How a peer's sending ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Fin,
    Reset,
}

/// A peer with its socket: what it has sent and the relay has not read, and what it has received.
#[derive(Debug)]
struct Peer {
    sent: u32,
    inbound: VecDeque<u32>,
    to_send: u32,
    plan: Ending,
    ended: Option<Ending>,
    /// The kernel tells a reset once, as an error.
    error_told: bool,
    received: Vec<u32>,
    end_received: Option<Ending>,
}

impl Peer {
    fn new(dice: &mut Dice) -> Peer {
        let plan = if dice.roll(3) == 0 { Ending::Reset } else { Ending::Fin };
        Peer {
            sent: 0,
            inbound: VecDeque::new(),
            to_send: dice.roll(40) as u32,
            plan,
            ended: None,
            error_told: false,
            received: Vec::new(),
            end_received: None,
        }
    }

    fn act(&mut self) {
        if self.ended.is_none() && self.end_received != Some(Ending::Reset) {
            if self.sent < self.to_send {
                self.inbound.push_back(self.sent);
                self.sent += 1;
            } else {
                self.ended = Some(self.plan);
            }
        }
    }

    fn is_reset(&self) -> bool {
        self.ended == Some(Ending::Reset)
    }
}

/// What the relay under test holds.
struct Relay {
    flow: Flow,
    held: [Option<u32>; 2],
    over: bool,
}

fn place(way: Way) -> usize {
    way as usize
}

struct World {
    peers: [Peer; 2],
    relay: Relay,
}

impl World {
    fn peer(&mut self, side: Side) -> &mut Peer {
        &mut self.peers[side as usize]
    }

    /// Reads one byte, the end or an error, as a kernel gives them.
    fn read(&mut self, way: Way) {
        if self.relay.held[place(way)].is_some() || !self.relay.flow.reads(way) {
            return;
        }
        let peer = self.peer(way.from());
        if let Some(byte) = peer.inbound.pop_front() {
            self.relay.held[place(way)] = Some(byte);
        } else if let Some(ending) = peer.ended {
            if ending == Ending::Reset && !std::mem::replace(&mut peer.error_told, true) {
                self.relay.flow.on(Input::Reset(way.from()));
            }
            self.relay.flow.on(Input::End(way));
        }
    }

    fn write(&mut self, way: Way) {
        let Some(byte) = self.relay.held[place(way)] else {
            return;
        };
        if !self.relay.flow.delivers(way) {
            self.relay.held[place(way)] = None;
            return;
        }
        let peer = self.peer(way.to());
        if peer.is_reset() {
            peer.error_told = true;
            self.relay.flow.on(Input::Reset(way.to()));
            self.relay.held[place(way)] = None;
        } else {
            assert_eq!(peer.end_received, None, "nothing may follow an end");
            peer.received.push(byte);
            self.relay.held[place(way)] = None;
        }
    }

    fn step(&mut self) {
        let held = self.relay.held;
        match self.relay.flow.next(|way| held[place(way)].is_some()) {
            Some(Step::PassOn(way)) => self.end(way.to(), Ending::Fin),
            Some(Step::Reset(side)) => {
                self.end(side, Ending::Reset);
                self.relay.over = true;
            }
            Some(Step::Close) => self.relay.over = true,
            None => {}
        }
    }

    fn end(&mut self, side: Side, ending: Ending) {
        let sender = self.peer(side.other());
        let (sent, ended) = (sender.sent, sender.ended);
        let peer = self.peer(side);
        if !peer.is_reset() {
            assert_eq!(peer.received.len() as u32, sent, "{ending:?} before the last byte");
        }
        match ending {
            Ending::Fin => assert_ne!(ended, None, "an end that nobody sent"),
            Ending::Reset => assert_eq!(ended, Some(Ending::Reset), "a reset that nobody sent"),
        }
        peer.end_received = Some(ending);
    }
}

#[test]
fn bytes_arrive_in_order_and_ends_behind_them_however_things_interleave() {
    for seed in 1..20_000 {
        let mut dice = Dice(seed);
        let peers = [Peer::new(&mut dice), Peer::new(&mut dice)];
        let mut world = World { peers, relay: Relay { flow: Flow::default(), held: [None; 2], over: false } };
        let mut turns = 0;
        while !world.relay.over {
            turns += 1;
            assert!(turns < 20_000, "seed {seed} does not end: {:?} {:?}", world.peers, world.relay.flow);
            let way = Way::BOTH[dice.roll(2) as usize];
            match dice.roll(4) {
                0 => world.peer(way.from()).act(),
                1 => world.read(way),
                2 => world.write(way),
                _ => world.step(),
            }
        }
        check(seed, &world);
    }
}

/// What must be so when it is over.
fn check(seed: u64, world: &World) {
    for (peer, other) in [(&world.peers[0], &world.peers[1]), (&world.peers[1], &world.peers[0])] {
        let expected: Vec<u32> = (0..other.sent).collect();
        assert!(expected.starts_with(&peer.received), "seed {seed}: out of order");
        if !peer.is_reset() {
            assert_eq!(peer.received, expected, "seed {seed}: lost bytes");
            assert_eq!(peer.end_received, other.ended, "seed {seed}: another end than was sent");
        }
    }
}
