use super::{Foreign, Gate, Heads, Proof, Reach};

fn loopback() -> Gate {
    Gate::new(Reach::Loopback(8080), false, &[], &[])
}

fn from<'a>(hosts: &'a [&'a str]) -> Heads<'a> {
    Heads { hosts, ..Heads::default() }
}

#[test]
fn a_loopback_listener_has_three_names_with_its_port() {
    let gate = loopback();
    for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LocalHost:8080"] {
        assert_eq!(gate.enter(&from(&[host])), Ok(()), "{host}");
    }
    let foreign = [
        "localhost",
        "localhost:80",
        "localhost:08081",
        "evil.example:8080",
        "127.0.0.2:8080",
        "[::2]:8080",
        "",
        "localhost:8080:8080",
        "localhost.evil.example:8080",
        "localhost:8080/",
        "[::1]",
        "127.0.0.1.nip.io:8080",
        ":8080",
    ];
    for host in foreign {
        assert_eq!(gate.enter(&from(&[host])), Err(Foreign::Host), "{host}");
    }
    assert_eq!(gate.enter(&from(&[])), Err(Foreign::NoHost));
    assert_eq!(gate.enter(&from(&["localhost:8080", "evil.example"])), Err(Foreign::NoHost));
    assert_eq!(gate.enter(&from(&["localhost:8080", "localhost:8080"])), Ok(()), "an absolute target repeats it");
}

#[test]
fn the_default_port_need_not_be_written() {
    let gate = |port, secure| Gate::new(Reach::Loopback(port), secure, &[], &[]);
    assert_eq!(gate(80, false).enter(&from(&["localhost"])), Ok(()));
    assert_eq!(gate(443, true).enter(&from(&["localhost"])), Ok(()));
    assert_eq!(gate(443, false).enter(&from(&["localhost"])), Err(Foreign::Host));
}

#[test]
fn addresses_cannot_be_rebound_and_names_can() {
    let gate = Gate::new(Reach::Addresses(8080), false, &[], &[]);
    for host in ["192.0.2.7:8080", "[2001:db8::7]:8080", "localhost:8080"] {
        assert_eq!(gate.enter(&from(&[host])), Ok(()), "{host}");
    }
    for host in ["rebound.example:8080", "192.0.2.7", "192.0.2.7:80", "192.0.2:8080"] {
        assert_eq!(gate.enter(&from(&[host])), Err(Foreign::Host), "{host}");
    }
    let named = Gate::new(Reach::Named("Term.example".into(), 8080), false, &[], &[]);
    assert_eq!(named.enter(&from(&["term.example:8080"])), Ok(()));
    assert_eq!(named.enter(&from(&["other.example:8080"])), Err(Foreign::Host));
}

#[test]
fn allowed_hosts_are_exact_but_for_a_port_that_is_not_written() {
    let hosts = ["term.example".to_owned(), "other.example:444".to_owned()];
    let gate = Gate::new(Reach::Nowhere, false, &hosts, &[]);
    for host in ["term.example", "term.example:8443", "TERM.example", "other.example:444"] {
        assert_eq!(gate.enter(&from(&[host])), Ok(()), "{host}");
    }
    for host in ["other.example", "other.example:443", "a.term.example", "term.example.evil", "localhost:8080"] {
        assert_eq!(gate.enter(&from(&[host])), Err(Foreign::Host), "{host}");
    }
}

#[test]
fn a_request_from_another_site_is_refused_unless_a_link_is_followed() {
    let gate = loopback();
    let heads = Heads { site: Some("cross-site"), ..from(&["localhost:8080"]) };
    assert_eq!(gate.enter(&heads), Err(Foreign::Site));
    assert_eq!(gate.enter(&Heads { site: Some("Cross-Site"), ..heads }), Err(Foreign::Site));
    assert_eq!(gate.enter(&Heads { navigates: true, ..heads }), Ok(()));
    for site in ["same-origin", "same-site", "none"] {
        assert_eq!(gate.enter(&Heads { site: Some(site), ..heads }), Ok(()), "{site}");
    }
}

#[test]
fn only_our_own_pages_and_what_is_no_page_may_ask() {
    let gate = loopback();
    let with = |origins: &'static [&'static str]| Heads { origins, ..from(&["localhost:8080"]) };
    for own in [&["http://localhost:8080"], &["http://127.0.0.1:8080"], &["http://[::1]:8080"]] {
        for proof in [Proof::Header, Proof::Cookie, Proof::None] {
            assert_eq!(gate.admit(&with(own), false, proof), Ok(()), "{own:?}");
        }
    }
    let foreign: [&'static [&'static str]; 8] = [
        &["null"],
        &["http://localhost:8081"],
        &["https://localhost:8080"],
        &["http://localhost"],
        &["http://evil.example"],
        &["http://localhost:8080.evil.example"],
        &[""],
        &["http://localhost:8080", "http://evil.example"],
    ];
    for origin in foreign {
        for (proof, safe) in
            [(Proof::Header, true), (Proof::Header, false), (Proof::Cookie, true), (Proof::None, false)]
        {
            assert_eq!(gate.admit(&with(origin), safe, proof), Err(Foreign::Origin), "{origin:?}");
        }
    }
}

#[test]
fn a_page_at_our_port_of_another_host_is_not_ours() {
    for reach in [Reach::Addresses(8080), Reach::Named("term.example".into(), 8080)] {
        let gate = Gate::new(reach, false, &[], &[]);
        let ask = |host: &'static str, origin: &'static str| {
            gate.admit(&Heads { origins: &[origin], ..from(&[host]) }, false, Proof::Cookie)
        };
        assert_eq!(ask("192.0.2.7:8080", "http://192.0.2.7:8080"), Ok(()));
        assert_eq!(ask("192.0.2.7:8080", "http://198.51.100.6:8080"), Err(Foreign::Origin));
        assert_eq!(ask("192.0.2.7:8080", "http://[2001:db8::6]:8080"), Err(Foreign::Origin));
    }
}

#[test]
fn a_cookie_alone_shows_nothing() {
    let gate = loopback();
    let heads = from(&["localhost:8080"]);
    assert_eq!(gate.admit(&heads, false, Proof::Header), Ok(()));
    assert_eq!(gate.admit(&heads, true, Proof::Cookie), Err(Foreign::NoOrigin));
    assert_eq!(gate.admit(&heads, false, Proof::Cookie), Err(Foreign::NoOrigin));
    let same = Heads { site: Some("same-origin"), ..heads };
    assert_eq!(gate.admit(&same, true, Proof::Cookie), Ok(()), "what a browser says of a GET of its own page");
    assert_eq!(gate.admit(&same, false, Proof::Cookie), Err(Foreign::NoOrigin));
    let marked = Heads { marked: true, ..heads };
    assert_eq!(gate.admit(&marked, true, Proof::Cookie), Ok(()), "what our page says where no browser does");
    assert_eq!(gate.admit(&marked, false, Proof::Cookie), Err(Foreign::NoOrigin));
    let elsewhere = Heads { site: Some("same-site"), ..marked };
    assert_eq!(gate.admit(&elsewhere, true, Proof::Cookie), Err(Foreign::NoOrigin), "the browser knows better");
    for site in ["same-site", "none"] {
        assert_eq!(gate.admit(&Heads { site: Some(site), ..heads }, true, Proof::Cookie), Err(Foreign::NoOrigin));
    }
}

#[test]
fn an_origin_is_own_behind_tls_of_somebody_else_where_its_host_is_allowed() {
    let gate = Gate::new(Reach::Nowhere, false, &["term.example".into()], &["https://Other.example".into()]);
    let ask = |host: &'static str, origin: &'static str| {
        gate.admit(&Heads { origins: &[origin], ..from(&[host]) }, false, Proof::Cookie)
    };
    assert_eq!(ask("term.example", "https://term.example"), Ok(()));
    assert_eq!(ask("term.example:8443", "https://term.example:8443"), Ok(()));
    assert_eq!(ask("term.example", "https://other.example"), Ok(()));
    assert_eq!(ask("term.example", "https://term.example:8443"), Err(Foreign::Origin), "another port, another page");
    assert_eq!(ask("term.example", "file://term.example"), Err(Foreign::Origin));
}

#[test]
fn what_a_form_can_send_is_refused() {
    let gate = loopback();
    let kinds = [
        "text/plain",
        "Text/Plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ];
    for kind in kinds {
        let heads = Heads { content_type: Some(kind), ..Heads::default() };
        assert_eq!(gate.content(&heads), Err(Foreign::ContentType), "{kind}");
    }
    for kind in [None, Some("application/json"), Some("application/octet-stream"), Some("text/plainer")] {
        assert_eq!(gate.content(&Heads { content_type: kind, ..Heads::default() }), Ok(()), "{kind:?}");
    }
}

#[test]
fn cookies_are_for_encrypted_connections_where_the_page_came_by_one() {
    assert!(Gate::is_secure("https://term.example") && Gate::is_secure("HTTPS://term.example"));
    assert!(!Gate::is_secure("http://localhost:8080") && !Gate::is_secure("") && !Gate::is_secure("https:"));
}
