//! Properties that hold for every value and every byte string, tried on some thousands of each.

use std::net::{IpAddr, SocketAddr};

use super::*;

/// A small xorshift generator, so that a failure repeats.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).expect("small")).expect("small")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn address(&mut self) -> SocketAddr {
        let wide = u128::from(self.next()) << 64 | u128::from(self.next());
        let ip: IpAddr = match self.below(4) {
            0 | 1 => IpAddr::V4(u32::from_le_bytes(std::array::from_fn(|_| self.byte())).into()),
            2 => IpAddr::V6(wide.into()),
            _ => IpAddr::V6((0xffff << 32 | wide & 0xffff_ffff).into()),
        };
        SocketAddr::new(ip, u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn name(&mut self) -> UnixName {
        let bytes: Vec<u8> = (0..self.below(UnixName::MAX + 1)).map(|_| self.byte()).collect();
        UnixName::new(&bytes).expect("short enough")
    }

    fn header(&mut self) -> Header {
        match self.below(5) {
            0 => Header::Local,
            1 => Header::Unknown,
            2 => Header::Unix { source: self.name(), destination: self.name() },
            _ => Header::between(self.address(), self.address()),
        }
    }

    /// Cuts at random places.
    fn pieces<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(1 + self.below(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

#[test]
fn what_is_written_is_read() {
    let mut seeded = Seeded(0x5eed);
    for _ in 0..5000 {
        let header = seeded.header();
        let v2 = header.to_bytes(ProxyVersion::V2);
        assert_eq!(read(&seeded.pieces(&v2)), Ok((header.clone(), v2.len())), "{header:?}");
        let v1 = header.to_bytes(ProxyVersion::V1);
        let expected = if matches!(header, Header::Inet { .. }) { header } else { Header::Unknown };
        assert_eq!(read(&seeded.pieces(&v1)), Ok((expected, v1.len())), "{}", v1.escape_ascii());
    }
}

/// Valid headers with a few bytes changed, cut off or added: the answer is the same however they are cut, and nothing is
/// taken that was not there.
#[test]
fn any_bytes_are_read_or_refused_alike_in_one_piece_and_in_many() {
    let mut seeded = Seeded(0xbad_5eed);
    let samples: Vec<Vec<u8>> = samples().into_iter().map(|(bytes, _)| bytes).filter(|all| all.len() < 300).collect();
    let (mut read_whole, mut refused) = (0, 0);
    for _ in 0..30_000 {
        let mut bytes = samples[seeded.below(samples.len())].clone();
        for _ in 0..seeded.below(3) {
            let at = seeded.below(bytes.len());
            bytes[at] = seeded.byte();
        }
        if seeded.below(4) == 0 {
            bytes.truncate(seeded.below(bytes.len() + 1));
        }
        bytes.extend((0..seeded.below(20)).map(|_| seeded.byte()).collect::<Vec<_>>());
        let whole = read(&[&bytes]);
        assert_eq!(read(&seeded.pieces(&bytes)), whole, "{}", bytes.escape_ascii());
        match whole {
            Ok((_, used)) => {
                assert!(used <= bytes.len());
                read_whole += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read_whole > 3000 && refused > 3000, "{read_whole} read, {refused} refused");
}

#[test]
fn random_bytes_are_no_header() {
    let mut seeded = Seeded(0xabcdef);
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..seeded.below(300)).map(|_| seeded.byte()).collect();
        assert!(read(&seeded.pieces(&bytes)).is_err(), "{}", bytes.escape_ascii());
    }
}
