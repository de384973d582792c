//! What a server's files must be, and what is said of those that are not.

use super::*;

#[test]
fn a_certificate_in_its_time_is_loaded_and_knows_its_end() {
    let folder = Folder::new();
    let made = folder.authority.make_with("localhost", |params| params.not_after = date_time_ymd(2099, 12, 31));
    let server = ServerIdentity::load(&folder.files("server", &made)).unwrap();
    assert_eq!(server.expires().to_string(), "2099-12-31T00:00:00Z");
    assert!(server.remarks().is_empty());
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let folder = Folder::new();
    let files = folder.files("server", &folder.authority.make_with("localhost", expired));
    let certificate = folder.path("server.crt");
    assert_eq!(refused(&files), format!("the certificate in {certificate} expired at 2020-02-03T00:00:00Z"));

    let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(2098, 1, 1);
    let files = folder.files("server", &folder.authority.make_with("localhost", future));
    assert_eq!(refused(&files), format!("the certificate in {certificate} is not valid before 2098-01-01T00:00:00Z"));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = Folder::new();
    let made = folder.authority.make("localhost");
    let other = folder.authority.make("localhost");
    let files = folder.files("server", &Made { certificate: made.certificate, key: other.key });
    let (key, certificate) = (folder.path("server.key"), folder.path("server.crt"));
    assert_eq!(
        refused(&files),
        format!("the private key in {key} does not belong to the certificate in {certificate}")
    );
}

#[test]
fn what_is_not_there_is_named() {
    let folder = Folder::new();
    let good = folder.server_files();
    let missing = folder.path("missing");
    let not_found = format!("cannot read {}: No such file or directory (os error 2)", missing);
    assert_eq!(refused(&ServerFiles { private_key: missing.clone(), ..good.clone() }), not_found);
    for files in [
        ServerFiles { cert_key: Some(missing.clone()), ..good.clone() },
        ServerFiles { extra_cert_chain: Some(missing.clone()), ..good.clone() },
        ServerFiles { client_cas: Some(missing.clone()), ..good.clone() },
    ] {
        assert_eq!(refused(&files), not_found);
    }
    // Each in the other's place.
    let (key, certificate) = (good.private_key.clone(), good.cert_key.clone().unwrap());
    let swapped = ServerFiles { private_key: certificate.clone(), cert_key: Some(key.clone()), ..good.clone() };
    assert_eq!(refused(&swapped), format!("there is no private key in {}", certificate));
    let keys = ServerFiles { cert_key: Some(key.clone()), ..good.clone() };
    assert_eq!(refused(&keys), format!("there is no certificate in {}", key));
    let empty = folder.write("empty", "");
    let files = ServerFiles { extra_cert_chain: Some(empty.clone()), ..good };
    assert_eq!(refused(&files), format!("there is no certificate in {}", empty));
}

#[test]
fn only_regular_files_of_a_reasonable_size_are_read() {
    let folder = Folder::new();
    let good = folder.server_files();
    let pipe = folder.path("pipe");
    nix::unistd::mkfifo(pipe.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Nobody writes into it, and nobody waits for that.
    let files = ServerFiles { private_key: pipe.clone(), ..good.clone() };
    assert_eq!(refused(&files), format!("{} is no regular file", pipe));
    let files = ServerFiles { private_key: "/dev/zero".to_owned(), ..good.clone() };
    assert_eq!(refused(&files), "/dev/zero is no regular file");
    let files = ServerFiles { private_key: folder.path(""), ..good.clone() };
    assert_eq!(refused(&files), format!("{} is no regular file", folder.path("")));
    let large = folder.write("large", &"#\n".repeat(2 << 20));
    let with_large = ServerFiles { extra_cert_chain: Some(large.clone()), ..good.clone() };
    assert_eq!(refused(&with_large), format!("there is no certificate in {}", large));
    folder.write("large", &"#\n".repeat((2 << 20) + 1));
    assert_eq!(refused(&with_large), format!("{} is larger than 4 MiB", large));
}

#[test]
fn damaged_files_are_refused_without_a_word_of_their_content() {
    let folder = Folder::new();
    let good = folder.authority.make("localhost");
    let secret = good.key.lines().nth(1).unwrap();
    let key = |text: String| Made { certificate: good.certificate.clone(), key: text };
    let cut = good.key.replace("-----END PRIVATE KEY-----", "");
    let begin = good.key.replace("-----BEGIN PRIVATE KEY-----", &format!("-----BEGIN {secret}"));
    let text = good.key.replace(secret, &format!("{secret}!"));
    let bytes = good.key.replace(secret, secret.get(4..).unwrap());
    let path = folder.path("server.key");
    let cases = [
        (cut, format!("{path} is no valid PEM: a section has no end")),
        (begin, format!("{path} is no valid PEM: a section does not begin as it should")),
        (text, format!("{path} is no valid PEM: a section is no base64")),
        (bytes, format!("the private key in {path} cannot be used: ")),
    ];
    for (text, expected) in cases {
        let error = ServerIdentity::load(&folder.files("server", &key(text))).unwrap_err();
        let message = said(&error);
        assert!(message.starts_with(&expected), "{message}");
        let everything = format!("{message} {error:?}");
        let words = good.key.lines().filter(|line| !line.starts_with('-'));
        assert!(words.flat_map(|line| line.get(4..14)).all(|word| !everything.contains(word)), "{everything}");
    }

    let line = good.certificate.lines().nth(1).unwrap();
    let damaged = Made { certificate: good.certificate.replace(line, &"A".repeat(line.len())), key: good.key.clone() };
    let message = refused(&folder.files("server", &damaged));
    let expected = format!("certificate 1 in {} cannot be read: ", folder.path("server.crt"));
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_private_key_that_everybody_can_read_is_remarked_on() {
    let folder = Folder::new();
    let files = folder.server_files();
    for (mode, remarks) in [(0o600, 0), (0o640, 0), (0o604, 1), (0o644, 1)] {
        fs::set_permissions(&files.private_key, fs::Permissions::from_mode(mode)).unwrap();
        let found = ServerIdentity::load(&files).unwrap().remarks();
        assert_eq!(found.len(), remarks, "{mode:o}");
        let expected = format!("the private key in {} can be read by every user of this host", files.private_key);
        assert!(found.iter().all(|remark| remark.to_string() == expected), "{found:?}");
    }
}

#[test]
fn an_odd_chain_is_remarked_on() {
    let folder = Folder::new();
    let between = folder.authority.below("between", |_| {});
    let old = folder.authority.below("old", expired);
    let made = between.make("localhost");
    let mut files = folder.files("server", &made);

    files.extra_cert_chain = Some(folder.write("chain", &between.pem));
    assert!(ServerIdentity::load(&files).unwrap().remarks().is_empty());

    folder.write("chain", &format!("{}{}{}", between.pem, folder.authority.pem, old.pem));
    let remarks: Vec<String> =
        ServerIdentity::load(&files).unwrap().remarks().iter().map(ToString::to_string).collect();
    let order = "certificate 4 of the chain has not issued the one before it; some clients will refuse the chain";
    assert_eq!(remarks, [order, "certificate 4 of the chain expired at 2020-02-03T00:00:00Z"]);
}

#[test]
fn protocol_names_have_1_to_255_bytes() {
    let folder = Folder::new();
    for name in [String::new(), "x".repeat(256)] {
        let files = ServerFiles { alpn: vec!["h2".to_owned(), name], ..folder.server_files() };
        assert!(refused(&files).ends_with("is no name of an application protocol: it has 1 to 255 bytes"));
    }
}

#[test]
fn authorities_of_clients_are_a_file_or_a_folder() {
    let folder = Folder::new();
    let with = |path: String| ServerFiles { client_cas: Some(path), ..folder.server_files() };
    ServerIdentity::load(&with(folder.path("authorities"))).unwrap();
    ServerIdentity::load(&with(folder.path("authorities/root.pem"))).unwrap();
    let empty = folder.path("empty");
    fs::create_dir(&empty).unwrap();
    let message = format!("there is no certificate in the *.pem files of {}", empty);
    assert_eq!(refused(&with(empty)), message);
}
