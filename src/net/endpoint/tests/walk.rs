//! Properties that hold for every value and every text, tried on some thousands of each.

use std::net::IpAddr;
use std::time::Duration;

use crate::net::endpoint::{
    Adopt, ClientTls, Connect, Domain, Family, Host, HostPort, Interface, Listen, NamedListen, ParseError, Peer,
    ProxyVersion, ServerFiles, Tcp, TlsListen, Udp, Unix, UnixAddress, Which,
};
use crate::time::TimeOrNever;

/// What paths and names are made of.
const LETTERS: &str = r"abcXYZ019_ :=\@é/.";

/// What the texts of the second walk begin with.
const STARTS: [&str; 24] = [
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
    "haproxy:",
    "ssl:1:",
    "ssl:1:alpn=",
    "localhost:",
    "tcp:h:1:",
    "tcp:h:1:timeout=",
    "tcp:host=h:",
    "ssl:h:1:hostname=",
    "tls:h:1:",
    "tls:h:endpoint=",
    r"tls:h:endpoint=tcp\:h\:",
    "unix:/a:lockfile=",
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

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(65536)).expect("16 bits")
    }

    fn one_of_two(&mut self) -> bool {
        self.below(2) == 0
    }

    fn perhaps<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_of_two().then(|| make(self))
    }

    fn path(&mut self) -> String {
        format!("/{}", self.text(LETTERS, 30))
    }

    fn alpn(&mut self) -> Vec<String> {
        (0..self.below(3)).map(|_| self.text(r"h2/1.=:\é", 9)).collect()
    }

    fn tcp(&mut self) -> Tcp {
        Tcp { interface: self.interface(), port: self.port(), backlog: self.perhaps(Self::u31) }
    }

    fn unix(&mut self) -> Unix {
        let address = self.unix_address();
        let mode = match address {
            UnixAddress::Path(_) => self.perhaps(|seeded| seeded.u31() & 0o777),
            UnixAddress::Abstract(_) => None,
        };
        Unix { address, mode, backlog: self.perhaps(Self::u31) }
    }

    fn unix_address(&mut self) -> UnixAddress {
        if self.one_of_two() { UnixAddress::Path(self.path()) } else { UnixAddress::Abstract(self.text(LETTERS, 30)) }
    }

    fn files(&mut self) -> ServerFiles {
        ServerFiles {
            private_key: self.path(),
            cert_key: self.perhaps(Self::path),
            extra_cert_chain: self.perhaps(Self::path),
            client_cas: self.perhaps(Self::path),
            alpn: self.alpn(),
        }
    }

    fn listen(&mut self) -> Listen {
        match self.below(6) {
            0 | 1 => Listen::Tcp(self.tcp()),
            2 => Listen::Udp(Udp { interface: self.interface(), port: self.port() }),
            3 => Listen::Unix(self.unix()),
            4 => Listen::Tls(Box::new(TlsListen { tcp: self.tcp(), files: self.files() })),
            _ => Listen::Adopt(self.adopt()),
        }
    }

    fn with_header(&mut self, listen: Listen) -> Listen {
        if matches!(listen, Listen::Udp(_)) || self.one_of_two() { listen } else { Listen::Proxied(Box::new(listen)) }
    }

    fn connect(&mut self) -> Connect {
        let place = self.peer();
        let tls = self.perhaps(|seeded| seeded.tls(&place));
        Connect {
            place,
            tls,
            proxy: self.perhaps(|seeded| if seeded.one_of_two() { ProxyVersion::V1 } else { ProxyVersion::V2 }),
            timeout: self.perhaps(Self::time),
            idle_timeout: self.perhaps(Self::limit),
            half_closed_timeout: self.perhaps(Self::limit),
        }
    }

    fn time(&mut self) -> Duration {
        Duration::from_nanos(1 + (self.below(u64::MAX) >> self.below(63)).min(3_599_999_999_999_999_999))
    }

    fn limit(&mut self) -> TimeOrNever {
        TimeOrNever::of(self.perhaps(Self::time))
    }

    fn peer(&mut self) -> Peer {
        if self.one_of_two() {
            return Peer::Unix(self.unix_address());
        }
        let host = self.interface().host().unwrap_or(Host::Name("localhost".to_owned()));
        let addresses: [IpAddr; 2] = ["127.0.0.1", "fe80::1"].map(|text| text.parse().expect("an address"));
        let mut fitting =
            addresses.into_iter().filter(|of| host.family().is_none_or(|family| family == Family::of(*of)));
        let bind_address = self.perhaps(|_| ()).and(fitting.next_back());
        let prefer = self.perhaps(|seeded| if seeded.one_of_two() { Family::V4 } else { Family::V6 });
        Peer::Tcp(HostPort { host, port: self.port().max(1), bind_address, prefer })
    }

    fn tls(&mut self, place: &Peer) -> ClientTls {
        let name = format!("{}.y", self.text("abcXYZ019_", 20));
        let hostname = match place {
            Peer::Tcp(_) => self.perhaps(|_| name),
            Peer::Unix(_) => Some(name),
        };
        let cert_key = self.perhaps(Self::path);
        let private_key = cert_key.is_some().then(|| self.perhaps(Self::path)).flatten();
        ClientTls { hostname, ca_certs_dir: self.perhaps(Self::path), cert_key, private_key, alpn: self.alpn() }
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
        let listen = seeded.listen();
        let listen = seeded.with_header(listen);
        assert_eq!(listen.to_string().parse::<Listen>().as_ref(), Ok(&listen), "{listen}");
        let connect = seeded.connect();
        assert_eq!(connect.to_string().parse::<Connect>().as_ref(), Ok(&connect), "{connect}");
    }
}

#[test]
fn any_text_is_read_or_refused_and_what_is_read_survives() {
    let mut seeded = Seeded(0xbad_5eed);
    let (mut listens, mut connects) = (0, 0);
    for _ in 0..25_000 {
        let start = STARTS[usize::try_from(seeded.below(24)).unwrap_or(0)];
        let text = format!("{start}{}", seeded.text(r"0189:=\[]%.a-é port@/", 9));
        match text.parse::<Listen>() {
            Ok(value) => {
                listens += 1;
                assert_eq!(value.to_string().parse::<Listen>(), Ok(value), "{text}");
            }
            Err(error) => check(&text, &error),
        }
        match text.parse::<Connect>() {
            Ok(value) => {
                connects += 1;
                assert_eq!(value.to_string().parse::<Connect>(), Ok(value), "{text}");
            }
            Err(error) => check(&text, &error),
        }
        drop(text.parse::<NamedListen>());
    }
    assert!(listens > 500, "only {listens} texts were endpoints to listen on");
    assert!(connects > 500, "only {connects} texts were endpoints to connect to");
}

/// Whatever text comes from outside, it is read or refused with its place; what is read can be written.
fn survives(text: &str) {
    match text.parse::<Listen>() {
        Ok(value) => assert_eq!(value.to_string().parse::<Listen>(), Ok(value), "{text:?}"),
        Err(error) => drop((error.to_string(), error.pointed())),
    }
    match text.parse::<Connect>() {
        Ok(value) => assert_eq!(value.to_string().parse::<Connect>(), Ok(value), "{text:?}"),
        Err(error) => drop((error.to_string(), error.pointed())),
    }
    if let Err(error) = text.parse::<NamedListen>() {
        drop((error.to_string(), error.pointed()));
    }
}

#[test]
fn bytes_at_random_do_no_harm() {
    let mut seeded = Seeded(0xb17e5);
    for _ in 0..8000 {
        let bytes: Vec<u8> = (0..seeded.below(40)).map(|_| u8::try_from(seeded.below(256)).unwrap_or(0)).collect();
        survives(&String::from_utf8_lossy(&bytes));
        // Characters of every length, and the longest of texts.
        let text: String = bytes.iter().filter_map(|byte| char::from_u32(u32::from(*byte) << (byte % 13))).collect();
        survives(&text);
    }
    for letter in [":", "=", r"\\", "[", "@", "9", "h:", "haproxy:", "é"] {
        survives(&letter.repeat(5000));
    }
}

#[test]
fn a_letter_more_or_less_does_no_harm() {
    let mut seeded = Seeded(0x0dd);
    for _ in 0..2000 {
        let listen = seeded.listen();
        let texts = [seeded.with_header(listen).to_string(), seeded.connect().to_string()];
        for text in texts {
            let place = usize::try_from(seeded.below(u64::try_from(text.chars().count()).unwrap_or(1))).unwrap_or(0);
            let (before, after): (String, String) =
                (text.chars().take(place).collect(), text.chars().skip(place).collect());
            survives(&format!("{before}{}{after}", seeded.text(":=\\[]%@0é\0", 1)));
            survives(&format!("{before}{}", after.chars().skip(1).collect::<String>()));
        }
    }
}

/// An error tells the place, and the caret is under it.
fn check(text: &str, error: &ParseError) {
    let message = error.to_string();
    let (_, character) = message.rsplit_once(", at character ").expect("the place is told");
    let character: usize = character.parse().expect("a number");
    assert!(character <= text.chars().count() + 1, "{message}");
    let shown = error.pointed();
    let (_, caret) = shown.split_once('\n').expect("two lines");
    assert!(caret.ends_with('^') && caret.trim_start() == "^", "{shown}");
    assert_eq!(caret.len(), character, "such a short text of printable letters is shown as it is: {shown}");
}
