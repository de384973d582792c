//! Browsers that come by TLS, played by curl.

use std::fs;
use std::process::Command;

use super::stage::{Proxy, Setup};
use crate::harness::{Ran, eventually, trials, trials_with};

trials![files_that_are_none_are_told_at_the_start];
trials_with![
    CURL => the_certificate_is_made_once_and_vouches_for_the_name,
    CURL => both_versions_of_http_are_spoken,
    CURL => a_certificate_that_is_named_is_used,
    CURL => what_is_no_tls_harms_nobody,
];

const CURL: &str = "command -v curl";

/// What curl gets, with these words before the address.
fn curl(proxy: &Proxy, words: &[&str], path: &str) -> Ran {
    let address = format!("https://localhost:{}{path}", proxy.address.port());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(words).arg(address);
    crate::harness::ran::Running::start(proxy.scene.mark(&mut command)).finish(crate::harness::PATIENCE * 2)
}

fn local_certificate(proxy: &Proxy) -> String {
    proxy.scene.path("data/socket-protector/dev-127.0.0.1.pem").to_str().unwrap().to_owned()
}

fn the_certificate_is_made_once_and_vouches_for_the_name() {
    let setup = Setup::new().with(&["--tls"]);
    let proxy = setup.start();
    let file = local_certificate(&proxy);
    let made = fs::read(&file).unwrap();
    let ran = curl(&proxy, &["--cacert", &file], "/").expect(0);
    assert_eq!(ran.out, "1");
    assert!(curl(&proxy, &[], "/").exit != crate::harness::process::Exit::Code(0), "nobody else vouches for it");
    let scene = std::sync::Arc::clone(&proxy.scene);
    drop(proxy);
    let again = Setup::on(scene).with(&["--tls"]).start();
    assert_eq!(fs::read(local_certificate(&again)).unwrap(), made);
}

fn both_versions_of_http_are_spoken() {
    let echo = "body\nhead";
    let proxy = Setup::new().with(&["--tls"]).script("head", "head").script("post", echo).start();
    let file = local_certificate(&proxy);
    for (version, number) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let words = [
            "--cacert",
            &file,
            version,
            "--write-out",
            "\n%{http_version} %{http_code}",
            "--header",
            "Cookie: a=1; b=2",
        ];
        let ran = curl(&proxy, &words, "/head").expect(0);
        let (seen, what) = ran.out.rsplit_once('\n').unwrap();
        assert_eq!(what, format!("{number} 200"));
        let lower = seen.to_ascii_lowercase();
        assert!(lower.starts_with("get /head http/1.1\r\n"), "{seen}");
        assert!(lower.contains(&format!("host: localhost:{}\r\n", proxy.address.port())), "{seen}");
        assert!(lower.contains("x-forwarded-proto: https\r\n") && lower.contains("cookie: a=1; b=2\r\n"), "{seen}");
        let large = proxy.scene.write("large", &"0123456789".repeat(100_000));
        let words = ["--cacert", &file, version, "--data-binary", &format!("@{}", large.display())];
        curl(&proxy, &words, "/post").expect(0);
    }
    assert_eq!(proxy.scene.read("web/bodies").len(), 2_000_000);
    // One who names another host than it connects for is refused by either.
    for version in ["--http1.1", "--http2"] {
        let words = ["--cacert", &file, version, "--header", "Host: evil.example", "--write-out", "%{http_code}"];
        let ran = curl(&proxy, &words, "/head").expect(0);
        assert!(ran.out.ends_with("403"), "{ran:?}");
    }
}

fn a_certificate_that_is_named_is_used() {
    let setup = Setup::new();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = setup.scene().write("own.pem", &made.cert.pem());
    let key = setup.scene().write("own.key", &made.signing_key.serialize_pem());
    let [certificate, key] = [certificate, key].map(|path| path.to_str().unwrap().to_owned());
    let proxy = setup.with(&["--tls", "--cert", &certificate, "--key", &key]).start();
    assert_eq!(curl(&proxy, &["--cacert", &certificate], "/").expect(0).out, "1");
    assert!(!proxy.scene.path("data").exists(), "none was made");
}

fn files_that_are_none_are_told_at_the_start() {
    let setup = Setup::new();
    let none = setup.scene().write("none.pem", "nothing");
    let ran = setup.scene().cli(&["dev", "0", "0", "--tls", "--cert", none.to_str().unwrap(), "--exec", "true"]);
    ran.expect(1).complains().says("cannot use the certificate");
    let ran = setup.scene().cli(&["dev", "0", "0", "--cert", none.to_str().unwrap(), "--exec", "true"]);
    ran.expect(2).complains().says("--tls");
}

fn what_is_no_tls_harms_nobody() {
    let proxy = Setup::new().with(&["--tls"]).start();
    let mut plain = proxy.client();
    plain.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    plain.rest();
    let silent = proxy.client();
    let file = local_certificate(&proxy);
    eventually("others are served", || curl(&proxy, &["--cacert", &file], "/").out == "1");
    drop(silent);
}
