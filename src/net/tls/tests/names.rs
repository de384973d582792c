//! Whom a client believes, and what it shows.

use super::*;

/// A server with this certificate, whatever its dates: as others may serve it.
fn serving(made: &Made) -> Session {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(made.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = builder.with_single_cert(chain, key).unwrap();
    Session::new(rustls::ServerConnection::new(Arc::new(config)).unwrap().into())
}

/// What both say when this client meets a server with this certificate.
fn meet(made: &Made, client: &ClientIdentity) -> (Option<String>, Option<String>) {
    let (here, there) = sockets();
    let mut server = End::new(serving(made), here);
    let mut client = End::new(client.session().unwrap(), there);
    let (server, client) = shake(&mut server, &mut client);
    (server.err().map(|error| said(&error)), client.err().map(|error| said(&error)))
}

/// The server hears the alert and the client says why.
fn refuses(made: &Made, client: &ClientIdentity, alert: &str, reason: &str) {
    let (server, client) = meet(made, client);
    assert_eq!(server.as_deref(), Some(format!("the TLS handshake failed: received fatal alert: {alert}").as_str()));
    let client = client.expect("the client refuses");
    assert!(client.starts_with("the TLS handshake failed: invalid peer certificate: "), "{client}");
    assert!(client.contains(reason), "{client}");
}

#[test]
fn a_certificate_for_the_name_from_a_believed_authority_is_accepted() {
    let folder = Folder::new();
    assert_eq!(meet(&folder.authority.make("localhost"), &folder.client()), (None, None));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let folder = Folder::new();
    refuses(&folder.authority.make("example.org"), &folder.client(), "BadCertificate", "not valid for name");
}

#[test]
fn a_certificate_from_an_unknown_authority_is_refused() {
    let folder = Folder::new();
    let other = Authority::new("another authority");
    refuses(&other.make("localhost"), &folder.client(), "UnknownCA", "UnknownIssuer");
    // The same name with another key.
    let forged = Authority::new("our authority");
    refuses(&forged.make("localhost"), &folder.client(), "DecryptError", "BadSignature");
    let selfmade = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let selfmade = Made { certificate: selfmade.cert.pem(), key: selfmade.signing_key.serialize_pem() };
    refuses(&selfmade, &folder.client(), "UnknownCA", "UnknownIssuer");
}

#[test]
fn a_certificate_out_of_its_time_is_refused_by_the_client_too() {
    let folder = Folder::new();
    let old = folder.authority.make_with("localhost", expired);
    refuses(&old, &folder.client(), "CertificateExpired", "expired");
}

#[test]
fn without_a_folder_the_authorities_of_the_host_are_believed_and_no_other() {
    let folder = Folder::new();
    match client_of(&ClientTls::default(), "localhost") {
        Ok(client) => refuses(&folder.authority.make("localhost"), &client, "UnknownCA", "UnknownIssuer"),
        // As in a bare container: nobody is believed, and that is said at once.
        Err(error) => assert!(matches!(error, LoadError::NoPlatformAuthorities), "{error}"),
    }
}

/// Runs itself again with a variable that belongs to the whole process.
#[test]
fn the_environment_may_name_the_authorities_of_the_host() {
    const NAME: &str = "net::tls::tests::names::the_environment_may_name_the_authorities_of_the_host";
    let folder = Folder::new();
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|_| std::env::var_os("AGAIN").is_some()) {
        fs::write(path, &folder.authority.pem).unwrap();
        let client = client_of(&ClientTls::default(), "localhost").unwrap();
        assert_eq!(meet(&folder.authority.make("localhost"), &client), (None, None));
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", NAME]).env("AGAIN", "1").env("SSL_CERT_FILE", folder.path("named"));
    let ran = again.env_remove("SSL_CERT_DIR").output().unwrap();
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "{ran:?}");
}

#[test]
fn a_common_name_is_no_name_for_a_host() {
    let folder = Folder::new();
    let without = |params: &mut CertificateParams| params.subject_alt_names.clear();
    let made = folder.authority.make_with("localhost", without);
    refuses(&made, &folder.client(), "BadCertificate", "not valid for name");
}

#[test]
fn hostname_is_what_is_checked_in_place_of_the_host() {
    let folder = Folder::new();
    let tls = ClientTls { hostname: Some("db.example.org".to_owned()), ..folder.client_tls() };
    let client = client_of(&tls, "127.0.0.1").unwrap();
    let unix = Peer::Unix(crate::net::endpoint::UnixAddress::Path("/run/db".to_owned()));
    let by_unix = ClientIdentity::load(&tls, &unix).unwrap();
    assert_eq!(meet(&folder.authority.make("db.example.org"), &by_unix), (None, None));
    assert_eq!(meet(&folder.authority.make("db.example.org"), &client), (None, None));
    refuses(&folder.authority.make("127.0.0.1"), &client, "BadCertificate", "not valid for name");
}

#[test]
fn the_name_is_sent_and_an_address_is_checked_but_not_sent() {
    let folder = Folder::new();
    for (host, sent) in
        [("localhost", Some("localhost")), ("LocalHost.", Some("localhost")), ("127.0.0.1", None), ("::1", None)]
    {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let files = folder.files("server", &folder.authority.make(&name));
        let client = client_of(&folder.client_tls(), host).unwrap();
        let (server, _) = connected(&ServerIdentity::load(&files).unwrap(), &client);
        assert_eq!(server.session.server_name().map(str::to_ascii_lowercase).as_deref(), sent, "{host}");
    }
    let client = client_of(&folder.client_tls(), "::1").unwrap();
    refuses(&folder.authority.make("::2"), &client, "BadCertificate", "not valid for name");
}

#[test]
fn a_host_that_no_certificate_can_name_is_refused() {
    let folder = Folder::new();
    for host in ["", "a b", "bücher.example", "-x", "a..b", "[::1]", "127.0.0.1:80"] {
        let message = said(&client_of(&folder.client_tls(), host).expect_err(host));
        let expected =
            format!("'{}' is neither a host name in its ASCII form nor an IP address", host.escape_default());
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn a_folder_of_authorities_must_be_there_and_have_one() {
    let folder = Folder::new();
    let load = |name: &str| {
        let tls = ClientTls { ca_certs_dir: Some(folder.path(name)), ..ClientTls::default() };
        client_of(&tls, "localhost").map_err(|error| said(&error))
    };
    let path = |name: &str| folder.path(name);
    let missing = format!("cannot read {}: No such file or directory (os error 2)", path("missing"));
    assert_eq!(load("missing").unwrap_err(), missing);
    fs::create_dir(folder.path("empty")).unwrap();
    let empty = format!("there is no certificate in the *.pem files of {}", path("empty"));
    assert_eq!(load("empty").unwrap_err(), empty);
    // Another ending is another matter.
    folder.write("empty/root.crt", &folder.authority.pem);
    assert_eq!(load("empty").unwrap_err(), empty);
    let file = format!("cannot read {}: Not a directory (os error 20)", path("authorities/root.pem"));
    assert_eq!(load("authorities/root.pem").unwrap_err(), file);
}

/// A certificate that has signed itself, and stands in the folder.
fn believed_itself(change: impl Fn(&mut CertificateParams)) -> (Made, ClientIdentity) {
    let folder = Folder::new();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let made = Made { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() };
    folder.write("authorities/itself.pem", &made.certificate);
    let client = folder.client();
    (made, client)
}

#[test]
fn a_self_made_certificate_in_the_folder_is_believed() {
    let (made, client) = believed_itself(|_| {});
    assert_eq!(meet(&made, &client), (None, None));
    let (made, client) = believed_itself(expired);
    refuses(&made, &client, "CertificateExpired", "expired");
}

#[test]
fn an_authority_is_no_server() {
    let (made, client) = believed_itself(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    refuses(&made, &client, "CertificateUnknown", "CaUsedAsEndEntity");
}

#[test]
fn a_file_that_is_no_authority_is_left_out_with_a_remark() {
    let folder = Folder::new();
    folder.write("authorities/a.pem", "nothing");
    folder.write("authorities/z.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    let client = folder.client();
    let remarks: Vec<String> = client.remarks().iter().map(ToString::to_string).collect();
    let none = format!("left out: there is no certificate in {}", folder.path("authorities/a.pem"));
    let bad = format!("left out: certificate 1 in {} cannot be trusted: ", folder.path("authorities/z.pem"));
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert_eq!(remarks[0], none);
    assert!(remarks[1].starts_with(&bad), "{remarks:?}");
    assert_eq!(meet(&folder.authority.make("localhost"), &client), (None, None));
}

/// A server that wants certificates of our authority, and a client that has this one, or else one that fits.
fn with_client(made: Option<&Made>) -> (Folder, ServerIdentity, ClientIdentity) {
    let folder = Folder::new();
    let files = ServerFiles { client_cas: Some(folder.path("authorities")), ..folder.server_files() };
    let fitting = folder.authority.make("a client");
    let own = folder.files("client", made.unwrap_or(&fitting));
    let tls = ClientTls { cert_key: own.cert_key, private_key: Some(own.private_key), ..folder.client_tls() };
    let client = client_of(&tls, "localhost").unwrap();
    (folder, ServerIdentity::load(&files).unwrap(), client)
}

#[test]
fn a_client_certificate_is_shown_and_accepted() {
    let (_folder, server, client) = with_client(None);
    let (mut server, mut client) = connected(&server, &client);
    assert_eq!(client.write(b"hello").unwrap(), 5);
    assert_eq!(server.read_all().unwrap(), (b"hello".to_vec(), false));
}

#[test]
fn a_client_certificate_and_its_key_may_be_one_file() {
    let (folder, server, _) = with_client(None);
    let made = folder.authority.make("a client");
    let both = folder.write("client.pem", &format!("{}{}", made.certificate, made.key));
    let tls = ClientTls { cert_key: Some(both), ..folder.client_tls() };
    connected(&server, &client_of(&tls, "localhost").unwrap());
}

/// The server refuses this client, and the client hears why from its first read at the latest.
fn refused_client(server: &ServerIdentity, client: &ClientIdentity, reason: &str, alert: &str) {
    let (mut server, mut client) = ends(server, client);
    let (refused, accepted) = shake(&mut server, &mut client);
    let refused = said(&refused.unwrap_err());
    assert!(refused.starts_with("the TLS handshake failed: "), "{refused}");
    assert!(refused.contains(reason), "{refused}");
    // In TLS 1.3 the client is done before the server has seen its certificate.
    accepted.unwrap();
    let heard = said(&client.read_all().unwrap_err());
    assert_eq!(heard, format!("the TLS session failed: received fatal alert: {alert}"));
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let (folder, server, _) = with_client(None);
    refused_client(&server, &folder.client(), "peer sent no certificates", "CertificateRequired");
}

#[test]
fn a_client_certificate_of_another_authority_is_refused() {
    let other = Authority::new("somebody else").make("a client");
    let (_folder, server, client) = with_client(Some(&other));
    refused_client(&server, &client, "UnknownIssuer", "UnknownCA");
}

#[test]
fn our_own_expired_certificate_is_not_loaded() {
    let folder = Folder::new();
    let files = folder.files("client", &folder.authority.make_with("a client", expired));
    let tls = ClientTls { cert_key: files.cert_key, private_key: Some(files.private_key), ..folder.client_tls() };
    let message = said(&client_of(&tls, "localhost").unwrap_err());
    let path = folder.path("client.crt");
    assert_eq!(message, format!("the certificate in {path} expired at 2020-02-03T00:00:00Z"));
}

#[test]
fn a_client_knows_the_end_of_its_own_certificate() {
    let folder = Folder::new();
    assert_eq!(folder.client().expires(), None);
    let made = folder.authority.make_with("a client", |params| params.not_after = date_time_ymd(2099, 12, 31));
    let files = folder.files("client", &made);
    let tls = ClientTls { cert_key: files.cert_key, private_key: Some(files.private_key), ..folder.client_tls() };
    let client = client_of(&tls, "localhost").unwrap();
    assert_eq!(client.expires().map(|at| at.to_string()).as_deref(), Some("2099-12-31T00:00:00Z"));
}
