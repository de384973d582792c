//! Properties that hold for every value and every text, tried on some thousands of each.

use crate::net::endpoint::{Adopt, Domain, Interface, Listen, NamedListen, Tcp, Udp, Unix, UnixAddress, Which};

/// What the texts of the second walk begin with.
const STARTS: [&str; 12] = [
    "",
    "tcp:",
    "tcp6:",
    "tcp:80:",
    "tcp6:80:interface=",
    "[",
    "@",
    "unix:",
    "unix:/a:mode=",
    "udp:",
    "systemd:domain=INET:name=",
    "fd:",
];

/// A small xorshift generator, so that a failure repeats.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn text(&mut self, alphabet: &str, longest: u64) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        let bound = u64::try_from(letters.len()).expect("an alphabet is short");
        let index = |at: u64| usize::try_from(at).expect("an index is small");
        (0..=self.below(longest)).map(|_| letters[index(self.below(bound))]).collect()
    }

    fn u31(&mut self) -> u32 {
        u32::try_from(self.below(1 << 31)).expect("31 bits")
    }

    fn listen(&mut self) -> Listen {
        let port = u16::try_from(self.below(65536)).expect("16 bits");
        let backlog = (self.below(2) == 0).then(|| self.u31());
        match self.below(6) {
            0 | 1 => Listen::Tcp(Tcp { interface: self.interface(), port, backlog }),
            2 => Listen::Udp(Udp { interface: self.interface(), port }),
            3 => {
                let mode = (self.below(2) == 0).then(|| self.u31() & 0o777);
                let path = format!("/{}", self.text(r"abcXYZ019_ :=\@é/.", 30));
                Listen::Unix(Unix { address: UnixAddress::Path(path), mode, backlog })
            }
            4 => {
                let name = self.text(r"abcXYZ019_ :=\@é/.", 30);
                Listen::Unix(Unix { address: UnixAddress::Abstract(name), mode: None, backlog })
            }
            _ => Listen::Adopt(self.adopt()),
        }
    }

    fn adopt(&mut self) -> Adopt {
        let domain = match self.below(3) {
            0 => Domain::Inet,
            1 => Domain::Inet6,
            _ => Domain::Unix,
        };
        match self.below(3) {
            0 => Adopt::Descriptor(self.u31().cast_signed()),
            1 => Adopt::Systemd { domain, which: Which::Index(self.u31()) },
            _ => Adopt::Systemd { domain, which: Which::Name(self.text(r"abcXYZ019_ =\@é/.", 30)) },
        }
    }

    fn interface(&mut self) -> Interface {
        // Few bits set, so that addresses with long runs of zeros come up as well.
        let sparse = |seeded: &mut Self| (u128::from(seeded.below(u64::MAX)) << 64) >> seeded.below(128);
        match self.below(4) {
            0 => Interface::All,
            1 => Interface::Name(format!("{}.x", self.text("abcXYZ019_", 20))),
            2 => Interface::V4(u32::try_from(self.below(1 << 32)).expect("32 bits").into()),
            _ => {
                let zone = (self.below(3) == 0).then(|| self.text("abc019._-@", 14));
                Interface::V6 { address: sparse(self).into(), zone }
            }
        }
    }
}

#[test]
fn values_survive_being_written_and_read() {
    let mut seeded = Seeded(0x5eed);
    for _ in 0..5000 {
        let value = seeded.listen();
        assert_eq!(value.to_string().parse::<Listen>().as_ref(), Ok(&value), "{value}");
    }
}

#[test]
fn any_text_is_read_or_refused_and_what_is_read_survives() {
    let mut seeded = Seeded(0xbad_5eed);
    let mut read = 0;
    for _ in 0..50_000 {
        let start = STARTS[usize::try_from(seeded.below(12)).unwrap_or(0)];
        let text = format!("{start}{}", seeded.text(r"0189:=\[]%.a-é port@/", 9));
        match text.parse::<Listen>() {
            Ok(value) => {
                read += 1;
                assert_eq!(value.to_string().parse::<Listen>(), Ok(value), "{text}");
            }
            Err(error) => assert!(error.to_string().contains(", at character "), "{text}"),
        }
        drop(text.parse::<NamedListen>());
    }
    assert!(read > 500, "only {read} texts were endpoints");
}
