//! Bytes that nobody meant: seeded noise, and good frames with damage. Nothing panics, everything stays within bounds,
//! and what is understood is what it was made from.

use super::{bytes, samples};
use crate::session::frame::{Decoder, HEAD, MAX_PAYLOAD};

/// xorshift64*: the same bytes on every run, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// Reads all in pieces until the end or an error; what was understood, encoded again.
fn read(random: &mut Random, mut bytes: &[u8], proved: bool) -> Vec<u8> {
    let mut decoder = Decoder::new();
    if proved {
        decoder.proved();
    }
    let mut understood = Vec::new();
    while !bytes.is_empty() {
        let piece = 1 + random.below(bytes.len().min(300));
        let taken = decoder.feed(&bytes[..piece]);
        bytes = &bytes[taken..];
        assert!(decoder.held() <= HEAD + MAX_PAYLOAD);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => frame.encode(&mut understood),
                Ok(None) if taken == 0 => panic!("nothing is taken, and nothing comes out"),
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return understood;
                }
            }
        }
    }
    understood
}

#[test]
fn noise_is_harmless() {
    for seed in 1..3000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let noise = (0..random.below(2000)).map(|_| random.below(256) as u8).collect::<Vec<_>>();
        let proved = random.below(2) == 0;
        let understood = read(&mut random, &noise, proved);
        assert!(understood.len() <= noise.len(), "{seed}");
        let mut decoder = Decoder::new();
        decoder.feed(&noise);
        let _ = decoder.preface();
    }
}

#[test]
fn damaged_frames_are_refused_or_are_other_frames() {
    let (mut undamaged, mut less) = (0, 0);
    for seed in 1..3000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let samples = samples();
        let mut all = Vec::new();
        for _ in 0..20 {
            all.extend(bytes(&samples[random.below(samples.len())]));
        }
        let damages = random.below(4);
        for _ in 0..damages {
            let at = random.below(all.len());
            all[at] = random.below(256) as u8;
        }
        let understood = read(&mut random, &all, true);
        if damages == 0 {
            assert!(understood == all, "{seed}");
            undamaged += 1;
        }
        assert!(understood.len() <= all.len(), "{seed}");
        less += usize::from(understood.len() < all.len());
    }
    assert!(undamaged > 500 && less > 500, "{undamaged} undamaged, {less} refused in part");
}
