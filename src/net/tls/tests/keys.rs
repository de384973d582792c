//! The forms in which private keys come.

use super::*;

/// RSA in PKCS#8, made for these tests.
const RSA: &str = include_str!("rsa-key.pem");

/// A key of P-256 that is encrypted, in both forms. The passphrase is "test"; they are of no use for anything else.
const ENCRYPTED: &str = include_str!("encrypted-key.pem");
const ENCRYPTED_OLD: &str = include_str!("encrypted-key-old.pem");

/// What a PKCS#8 key wraps, in PEM.
fn unwrapped(pkcs8: &[u8], label: &str) -> String {
    // The last element: an octet string that ends with the key, or is followed by the public one, which we have not.
    let at = (20..40).find(|&at| pkcs8[at] == 0x04 && octets(&pkcs8[at..]).is_some()).unwrap();
    let inner = octets(&pkcs8[at..]).unwrap();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(inner))
}

/// The content of an octet string that goes up to the end and has a sequence in it.
fn octets(der: &[u8]) -> Option<&[u8]> {
    let (header, length) = match der[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        _ => return None,
    };
    der.get(header..).filter(|content| content.len() == length && content[0] == 0x30)
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let value = chunk.iter().chain(&[0, 0]).take(3).fold(0, |value, &byte| value << 8 | usize::from(byte));
        let letter = move |index: usize| {
            if index <= chunk.len() { char::from(LETTERS[value >> (18 - 6 * index) & 63]) } else { '=' }
        };
        (0..4).map(letter)
    });
    letters.collect()
}

/// Loads a server with this key and completes a handshake with it.
fn serves(folder: &Folder, made: &Made) {
    let server = ServerIdentity::load(&folder.files("server", made)).unwrap_or_else(|error| panic!("{}", said(&error)));
    connected(&server, &folder.client());
}

#[test]
fn keys_in_pkcs8_sec1_and_pkcs1_serve() {
    let folder = Folder::new();
    let made = folder.authority.make("localhost");
    assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    serves(&folder, &made);

    let key = KeyPair::from_pem(&made.key).unwrap();
    let sec1 = unwrapped(key.serialized_der(), "EC PRIVATE KEY");
    serves(&folder, &Made { certificate: made.certificate, key: sec1 });

    let key = KeyPair::from_pem(RSA).unwrap();
    let certificate = folder.authority.certify("localhost", &key, |_| {});
    serves(&folder, &Made { certificate: certificate.clone(), key: RSA.to_owned() });
    let pkcs1 = unwrapped(key.serialized_der(), "RSA PRIVATE KEY");
    serves(&folder, &Made { certificate, key: pkcs1 });

    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = folder.authority.certify("localhost", &key, |_| {});
    serves(&folder, &Made { certificate, key: key.serialize_pem() });
}

#[test]
fn one_file_may_hold_key_certificate_and_chain() {
    let folder = Folder::new();
    let between = folder.authority.below("between", |_| {});
    let made = between.make("localhost");
    for text in [
        format!("{}{}{}", made.key, made.certificate, between.pem),
        format!("# of the server\n{}\n{}\nof the authority\n{}", made.certificate, between.pem, made.key),
    ] {
        let both = folder.write("server.pem", &text);
        let files = ServerFiles { private_key: both, cert_key: None, ..folder.server_files() };
        connected(&ServerIdentity::load(&files).unwrap(), &folder.client());
    }
}

#[test]
fn an_encrypted_key_is_refused_as_such() {
    let folder = Folder::new();
    let certificate = folder.authority.make("localhost").certificate;
    for key in [ENCRYPTED, ENCRYPTED_OLD] {
        let files = folder.files("server", &Made { certificate: certificate.clone(), key: key.to_owned() });
        let path = folder.path("server.key");
        let reason = "is encrypted, and nobody is there to type the passphrase: store it decrypted";
        assert_eq!(refused(&files), format!("the private key in {path} {reason}"));
    }
}

#[test]
fn a_key_of_an_unknown_kind_is_refused() {
    let folder = Folder::new();
    let made = folder.authority.make("localhost");
    // A curve that nobody uses for TLS: the name of P-256 with another last digit.
    let key = KeyPair::from_pem(&made.key).unwrap();
    let mut der = key.serialized_der().to_vec();
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let at = der.windows(curve.len()).position(|window| window == curve).unwrap();
    der[at + curve.len() - 1] = 0x01;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(&der));
    let message = refused(&folder.files("server", &Made { certificate: made.certificate, key: pem }));
    assert!(message.contains("server.key cannot be used: "), "{message}");
}
