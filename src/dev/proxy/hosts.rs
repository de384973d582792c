//! Which names of this machine a browser may use, and pages of which origins may talk to us.
//!
//! Any page of the web can make a browser send requests here, and by a name server of its own it can make its own name lead
//! here. Such a request still names the foreign host. An address is no name that anybody could have bent.

use std::net::IpAddr;

/// The names that are allowed.
#[derive(Clone, Debug)]
pub struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Names of this machine, addresses, and these; one that begins with a dot allows all names that end so.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Hosts {
        let names = names.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        Hosts { names: names.collect() }
    }

    /// Whether a `Host` field, or the authority of a URI, names one of them.
    pub fn allow(&self, authority: &str) -> bool {
        let Some(host) = host(authority) else { return false };
        if host.parse::<IpAddr>().is_ok() {
            return true;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost"
            || host.ends_with(".localhost")
            || self.names.iter().any(|name| host == *name || (name.starts_with('.') && host.ends_with(name)))
    }

    /// Whether the page that an `Origin` field names may talk to us: one of the host that is asked, of this machine, or of
    /// a name that is allowed. An address that is asked is ours, but any other may have pages of anybody. The page of a
    /// file, or of a frame without rights, names none.
    pub fn allow_origin(&self, origin: &str, asked: Option<&str>) -> bool {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let Some(from) = authority.and_then(host) else { return false };
        if asked.and_then(host).is_some_and(|asked| asked.eq_ignore_ascii_case(from)) {
            return true;
        }
        match from.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.allow(from),
        }
    }
}

/// The host of an authority, without brackets.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon)),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    (!host.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit())).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[test]
    fn this_machine_and_addresses_are_allowed_and_foreign_names_are_not() {
        let hosts = Hosts::new(["my.test", ".example.org", "Upper.Case."]);
        for fine in [
            "localhost",
            "LOCALHOST:8000",
            "localhost.:80",
            "app.localhost:1",
            "127.0.0.1:8000",
            "192.168.1.7",
            "[::1]:8000",
            "[::1]",
            "my.test:8000",
            "a.b.example.org",
            "upper.case",
        ] {
            assert!(hosts.allow(fine), "{fine}");
        }
        for foreign in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "my.test.evil.example",
            "xmy.test",
            "example.org",
            "127.0.0.1.evil.example",
            "[::1",
            "[localhost.evil]:80x",
            "localhost:80:80",
            "localhost:x",
            "127.1",
        ] {
            assert!(!hosts.allow(foreign), "{foreign}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let hosts = Hosts::new(["my.test"]);
        for (origin, fine) in [
            ("http://localhost:3000", true),
            ("http://127.0.0.1", true),
            ("https://my.test", true),
            ("http://192.168.1.7:3000", true),
            ("http://192.168.1.8:8000", false),
            ("http://[::ffff:127.0.0.1]", true),
            ("https://[::1]", true),
            ("null", false),
            ("file://", false),
            ("http://evil.example", false),
            ("http://localhost@evil.example", false),
            ("http://evil.example/localhost", false),
        ] {
            assert_eq!(hosts.allow_origin(origin, Some("192.168.1.7:8000")), fine, "{origin}");
        }
    }
}
