//! Networks, and who is in them.

use std::net::IpAddr;

use super::super::{Network, NetworkError, Trust};

fn network(text: &str) -> Network {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_network_has_the_addresses_with_its_beginning() {
    let cases = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.6", false),
        ("192.0.2.6/31", "192.0.2.7", true),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "192.0.2.1", false),
        ("::1", "::1", true),
        ("::1", "::2", false),
        // As a dual-stack listener reports an IPv4 client, and as somebody may have written one.
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "::ffff:11.1.2.3", false),
    ];
    for (text, peer, inside) in cases {
        assert_eq!(network(text).contains(address(peer)), inside, "{peer} in {text}");
    }
}

#[test]
fn a_network_is_written_as_it_can_be_read() {
    for text in ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0", "::1/128"] {
        assert_eq!(network(text).to_string(), text);
    }
    assert_eq!(network("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
}

#[test]
fn what_is_no_network_is_refused() {
    for text in ["", "/8", "10.0.0/8", "example.org", "10.0.0.0:80", "[::1]", " 10.0.0.1"] {
        assert_eq!(text.parse::<Network>(), Err(NetworkError::Address), "{text}");
    }
    for text in ["10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/256"] {
        assert_eq!(text.parse::<Network>(), Err(NetworkError::Prefix { longest: 32 }), "{text}");
    }
    assert_eq!("::/129".parse::<Network>(), Err(NetworkError::Prefix { longest: 128 }));
    let message = "10.1.2.3/8".parse::<Network>().unwrap_err().to_string();
    assert_eq!(message, "the address has bits behind the prefix; the network with it is 10.0.0.0/8");
}

#[test]
fn trust_is_everybody_or_a_list() {
    assert!(Trust::everybody().covers(Some(address("203.0.113.9"))));
    let trust = Trust::only(vec![network("10.0.0.0/8"), network("::1")]);
    assert!(trust.covers(Some(address("10.9.9.9"))));
    assert!(trust.covers(Some(address("::1"))));
    assert!(!trust.covers(Some(address("203.0.113.9"))));
    assert!(!Trust::only(Vec::new()).covers(Some(address("10.9.9.9"))));
    // Who may connect to a unix socket is decided by its file.
    assert!(Trust::only(Vec::new()).covers(None));
}
