//! Both directions at once through buffers of random sizes, driven as an edge-triggered loop does it: a side reads again
//! only if it was told that there is more, or the other side has sent.

use super::*;

/// A small xorshift generator, so that a failure repeats.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).expect("small")).expect("small")
    }

    /// Mostly small, sometimes large.
    fn size(&mut self) -> usize {
        let most = [3, 50, 5000, 40_000][self.below(4)];
        1 + self.below(most)
    }
}

/// One side's view: what it sends and has received.
struct Side {
    end: End,
    text: Vec<u8>,
    sent: usize,
    ended: bool,
    received: Vec<u8>,
    closed: bool,
    /// The socket has news, or the session has said that there is more.
    ready: bool,
}

impl Side {
    fn new(end: End, length: usize, seed: u64) -> Self {
        let text = (0..length as u64).map(|at| (at.wrapping_mul(seed) >> 7).to_le_bytes()[0]).collect();
        Self { end, text, sent: 0, ended: false, received: Vec::new(), closed: false, ready: true }
    }

    /// Sends some; whether the other side has news.
    fn send(&mut self, seeded: &mut Seeded) -> bool {
        let before = self.end.socket.written;
        if !self.ended {
            let until = self.text.len().min(self.sent + seeded.size());
            self.sent += self.end.write(&self.text[self.sent..until]).unwrap();
            if self.sent == self.text.len() {
                self.end.close_notify();
                self.ended = true;
            }
        }
        self.end.session.flush(&mut self.end.socket).unwrap();
        self.end.socket.written > before
    }

    fn receive(&mut self, seeded: &mut Seeded) {
        if !self.ready || self.closed {
            return;
        }
        let mut plain = vec![0; seeded.size()];
        let mut scratch = vec![0; seeded.size()];
        match self.end.session.read(&mut self.end.socket, &mut plain, &mut scratch).unwrap() {
            Got::Plain { length, more } => {
                self.received.extend(&plain[..length]);
                self.ready = more;
            }
            Got::Closed => self.closed = true,
            Got::Blocked => self.ready = false,
        }
    }
}

#[test]
fn everything_arrives_in_order_whatever_the_buffers() {
    let folder = Folder::new();
    let (server, client) = (folder.server(), folder.client());
    for seed in 1..=8 {
        let mut seeded = Seeded(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let (one, other) = connected(&server, &client);
        let mut sides = [Side::new(one, 120_000, seed + 5), Side::new(other, seeded.below(60_000), seed + 11)];
        let mut steps = 0;
        while !sides.iter().all(|side| side.ended && side.closed) {
            let which = seeded.below(2);
            if seeded.below(2) == 0 {
                // What left the one socket is news at the other.
                sides[1 - which].ready |= sides[which].send(&mut seeded);
            } else {
                sides[which].receive(&mut seeded);
            }
            steps += 1;
            assert!(steps < 1_000_000, "seed {seed} stands still");
        }
        let [one, other] = sides;
        assert!(one.text == other.received && other.text == one.received, "seed {seed}");
    }
}
