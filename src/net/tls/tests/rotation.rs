//! Files that change while they are in use.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

use super::*;

/// Writes another key and certificate over the files.
fn replace(files: &ServerFiles, made: &Made) {
    fs::write(&files.private_key, &made.key).unwrap();
    fs::write(files.cert_key.as_ref().unwrap(), &made.certificate).unwrap();
}

/// Whether a new connection's certificate is for this name.
fn is_for(folder: &Folder, server: &ServerIdentity, name: &str) -> bool {
    let client = client_of(&folder.client_tls(), name).unwrap();
    let (mut server, mut client) = ends(server, &client);
    shake(&mut server, &mut client).1.is_ok()
}

#[test]
fn files_that_stay_are_not_loaded_again() {
    let folder = Folder::new();
    let files = folder.server_files();
    let server = ServerIdentity::load(&files).unwrap();
    assert!(matches!(server.refresh(), Refresh::Unchanged));
    // Written again with the same content.
    let text = fs::read_to_string(&files.private_key).unwrap();
    fs::write(&files.private_key, text).unwrap();
    assert!(matches!(server.refresh(), Refresh::Unchanged));
}

#[test]
fn a_changed_certificate_is_for_new_connections_and_running_ones_go_on() {
    let folder = Folder::new();
    let files = folder.server_files();
    let server = ServerIdentity::load(&files).unwrap();
    let (mut here, mut there) = connected(&server, &folder.client());
    let (mut early, mut early_client) = ends(&server, &folder.client());

    let made = folder.authority.make_with("second", |params| params.not_after = date_time_ymd(2098, 7, 6));
    replace(&files, &made);
    let Refresh::Swapped { expires, remarks } = server.refresh() else { panic!("nothing was swapped") };
    assert_eq!(expires.unwrap().to_string(), "2098-07-06T00:00:00Z");
    assert_eq!(server.expires(), expires.unwrap());
    assert!(remarks.is_empty());
    assert!(matches!(server.refresh(), Refresh::Unchanged));

    assert!(is_for(&folder, &server, "second"));
    assert!(!is_for(&folder, &server, "localhost"));
    there.write(b"still here").unwrap();
    assert_eq!(here.read_all().unwrap().0, b"still here");
    // One that had only begun goes on with what it began with.
    let (one, other) = shake(&mut early, &mut early_client);
    one.unwrap();
    other.unwrap();
}

#[test]
fn half_of_a_change_changes_nothing_and_is_told_once() {
    let folder = Folder::new();
    let files = folder.server_files();
    let server = ServerIdentity::load(&files).unwrap();
    let made = folder.authority.make("second");
    fs::write(files.cert_key.as_ref().unwrap(), &made.certificate).unwrap();
    let Refresh::Kept(error) = server.refresh() else { panic!("half a change was taken") };
    assert!(matches!(error, LoadError::Mismatch { .. }), "{error}");
    assert!(matches!(server.refresh(), Refresh::Unchanged));
    assert!(is_for(&folder, &server, "localhost"));
    // The other half.
    fs::write(&files.private_key, &made.key).unwrap();
    assert!(matches!(server.refresh(), Refresh::Swapped { .. }));
    assert!(is_for(&folder, &server, "second"));
}

#[test]
fn whatever_cannot_be_used_changes_nothing() {
    let folder = Folder::new();
    let files = folder.server_files();
    let server = ServerIdentity::load(&files).unwrap();
    let kept = |what: &str| {
        let Refresh::Kept(error) = server.refresh() else { panic!("{what} was taken") };
        assert!(is_for(&folder, &server, "localhost"), "{what}");
        said(&error)
    };
    let good = folder.authority.make("second");
    let cut = good.key.split_at(good.key.len() / 2).0.to_owned();
    replace(&files, &Made { certificate: good.certificate.clone(), key: cut });
    assert!(kept("a key that is still being written").contains("a section has no end"));
    replace(&files, &folder.authority.make_with("second", expired));
    assert!(kept("an expired certificate").contains("expired at 2020"));
    fs::remove_file(&files.private_key).unwrap();
    assert!(kept("a missing key").contains("No such file"));
    replace(&files, &good);
    assert!(matches!(server.refresh(), Refresh::Swapped { .. }));
    assert!(is_for(&folder, &server, "second"));
}

/// What is read while a file is written may be of both; it is looked at again.
#[test]
fn files_that_change_while_they_are_read_are_read_again() {
    let folder = Folder::new();
    let path = folder.write("one", "1");
    let read = || Ok(fs::read_to_string(&path).unwrap());
    let value = crate::net::tls::rotation::Rotating::load(vec![path.clone().into()], read).unwrap();
    assert_eq!(*value.current(), "1");
    folder.write("one", "2");
    let while_written = || {
        let text = read();
        folder.write("one", "3");
        text
    };
    assert!(value.refresh(while_written).is_none());
    assert_eq!(*value.current(), "1");
    assert_eq!(*value.refresh(read).unwrap().unwrap(), "3");
    assert_eq!(*value.current(), "3");
    assert!(value.refresh(read).is_none());
}

/// A certificate may be put there before its time.
#[test]
fn what_could_not_be_used_is_tried_again_though_its_files_stay() {
    let folder = Folder::new();
    let path = folder.write("one", "1");
    let read = || Ok(fs::read_to_string(&path).unwrap());
    let value = crate::net::tls::rotation::Rotating::load(vec![path.clone().into()], read).unwrap();
    folder.write("one", "2");
    let too_early = || {
        let at = crate::net::tls::Moment(SystemTime::UNIX_EPOCH);
        Err::<String, _>(LoadError::NotYet { path: path.clone().into(), at })
    };
    assert!(value.refresh(too_early).is_some_and(|refreshed| refreshed.is_err()), "it is told");
    assert!(value.refresh(too_early).is_none(), "once");
    assert_eq!(*value.current(), "1");
    assert_eq!(*value.refresh(read).unwrap().unwrap(), "2");
    assert!(value.refresh(read).is_none());
}

/// As certificate tools and cluster secrets do it: a link that leads elsewhere at once.
#[test]
fn a_link_that_leads_elsewhere_is_a_change() {
    let folder = Folder::new();
    for (version, name) in [("v1", "localhost"), ("v2", "second")] {
        let made = folder.authority.make(name);
        fs::create_dir(folder.path(version)).unwrap();
        folder.write(&format!("{version}/tls.key"), &made.key);
        folder.write(&format!("{version}/tls.crt"), &made.certificate);
    }
    std::os::unix::fs::symlink("v1", folder.path("live")).unwrap();
    let files = ServerFiles {
        private_key: folder.path("live/tls.key"),
        cert_key: Some(folder.path("live/tls.crt")),
        ..folder.server_files()
    };
    let server = ServerIdentity::load(&files).unwrap();
    std::os::unix::fs::symlink("v2", folder.path("next")).unwrap();
    fs::rename(folder.path("next"), folder.path("live")).unwrap();
    assert!(matches!(server.refresh(), Refresh::Swapped { .. }));
    assert!(is_for(&folder, &server, "second"));
}

#[test]
fn authorities_that_change_are_believed_by_new_connections() {
    let folder = Folder::new();
    let second = Authority::new("a second authority");
    let client = folder.client();
    let server = ServerIdentity::load(&folder.files("second", &second.make("localhost"))).unwrap();
    let met = || {
        let (mut server, mut client) = ends(&server, &client);
        shake(&mut server, &mut client).1.is_ok()
    };
    assert!(!met());
    folder.write("authorities/second.pem", &second.pem);
    assert!(matches!(client.refresh(), Refresh::Swapped { expires: None, .. }));
    assert!(met());
    fs::remove_file(folder.path("authorities/second.pem")).unwrap();
    assert!(matches!(client.refresh(), Refresh::Swapped { .. }));
    assert!(!met());
    fs::remove_dir_all(folder.path("authorities")).unwrap();
    assert!(matches!(client.refresh(), Refresh::Kept(LoadError::Read { .. })));
}

/// A session that was agreed on under the former authorities must not be resumed past the new ones.
#[test]
fn a_session_is_not_resumed_past_a_change() {
    let folder = Folder::new();
    fs::create_dir(folder.path("clients")).unwrap();
    folder.write("clients/root.pem", &folder.authority.pem);
    let files = ServerFiles { client_cas: Some(folder.path("clients")), ..folder.server_files() };
    let server = ServerIdentity::load(&files).unwrap();
    let own = folder.files("client", &folder.authority.make("a client"));
    let tls = ClientTls { cert_key: own.cert_key, private_key: Some(own.private_key), ..folder.client_tls() };
    let client = client_of(&tls, "localhost").unwrap();
    let (mut here, mut there) = connected(&server, &client);
    here.write(b"a ticket comes along").unwrap();
    there.read_all().unwrap();
    let (again, _client) = connected(&server, &client);
    assert_eq!(again.session.connection.handshake_kind(), Some(rustls::HandshakeKind::Resumed));

    folder.write("clients/root.pem", &Authority::new("another").pem);
    assert!(matches!(server.refresh(), Refresh::Swapped { .. }));
    let (mut here, mut there) = ends(&server, &client);
    assert!(shake(&mut here, &mut there).0.is_err());
}

/// A watch that is told to look by hand, and what it tells.
fn watch() -> (Watch, Receiver<Change>) {
    let (tell, told) = mpsc::channel();
    let watch = Watch::start(Duration::from_secs(3600), move |change| drop(tell.send(change))).unwrap();
    (watch, told)
}

fn next(told: &Receiver<Change>) -> Change {
    told.recv_timeout(Duration::from_secs(20)).expect("nothing was told in 20 s")
}

#[test]
fn a_watch_tells_what_has_changed() {
    let folder = Folder::new();
    let files = folder.server_files();
    let server = Arc::new(ServerIdentity::load(&files).unwrap());
    let client = Arc::new(folder.client());
    let (watch, told) = watch();
    watch.server("ssl:443".to_owned(), &server);
    watch.client("ssl:db:5433".to_owned(), &client);
    let made = folder.authority.make_with("second", |params| params.not_after = date_time_ymd(2098, 7, 6));
    fs::write(&files.private_key, &made.key).unwrap();
    folder.write("authorities/second.pem", &Authority::new("a second authority").pem);
    watch.look();

    let change = next(&told);
    assert!(change.is_warning());
    let (key, certificate) = (folder.path("server.key"), folder.path("server.crt"));
    let line = "ssl:443: the changed TLS files cannot be used, the former ones stay: the private key in";
    assert_eq!(change.to_string(), format!("{line} {key} does not belong to the certificate in {certificate}"));
    let change = next(&told);
    assert!(!change.is_warning());
    assert_eq!(change.to_string(), "ssl:db:5433: new connections use the changed TLS files");

    fs::write(files.cert_key.as_ref().unwrap(), &made.certificate).unwrap();
    fs::set_permissions(&files.private_key, fs::Permissions::from_mode(0o604)).unwrap();
    watch.look();
    let change = next(&told);
    assert!(change.is_warning());
    let line =
        "ssl:443: new connections use the changed TLS files, valid until 2098-07-06T00:00:00Z; the private key in";
    assert_eq!(change.to_string(), format!("{line} {key} can be read by every user of this host"));
}

#[test]
fn a_watch_looks_by_itself() {
    let folder = Folder::new();
    let files = folder.server_files();
    let server = Arc::new(ServerIdentity::load(&files).unwrap());
    let (tell, told) = mpsc::channel();
    let watch = Watch::start(Duration::from_millis(20), move |change| drop(tell.send(change))).unwrap();
    watch.server("ssl:443".to_owned(), &server);
    replace(&files, &folder.authority.make("second"));
    // Between its looks at two halves there may be one at the first alone.
    while !matches!(next(&told).what, What::Swapped { .. }) {}
    assert!(is_for(&folder, &server, "second"));
    // It ends with its owner.
    drop(watch);
    assert!(told.recv_timeout(Duration::from_secs(20)).is_err_and(|end| end == mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_watch_forgets_what_nobody_has() {
    let folder = Folder::new();
    let files = folder.server_files();
    let gone = Arc::new(ServerIdentity::load(&files).unwrap());
    let stays = Arc::new(ServerIdentity::load(&files).unwrap());
    let (watch, told) = watch();
    watch.server("gone".to_owned(), &gone);
    watch.server("stays".to_owned(), &stays);
    drop(gone);
    replace(&files, &folder.authority.make("second"));
    watch.look();
    assert_eq!(next(&told).name, "stays");
    drop(watch);
    assert!(told.recv().is_err());
}

#[test]
fn a_certificate_that_expires_in_use_is_told_once() {
    let folder = Folder::new();
    let soon = SystemTime::now() + Duration::from_secs(2);
    let made = folder.authority.make_with("localhost", |params| params.not_after = soon.into());
    let server = Arc::new(ServerIdentity::load(&folder.files("server", &made)).unwrap());
    let (tell, told) = mpsc::channel();
    let watch = Watch::start(Duration::from_millis(20), move |change| drop(tell.send(change))).unwrap();
    watch.server("ssl:443".to_owned(), &server);
    let change = next(&told);
    assert!(change.is_warning());
    assert_eq!(change.to_string(), format!("ssl:443: the certificate in use expired at {}", server.expires()));
    // Another look that has something else to tell.
    let other = Folder::new();
    let files = other.server_files();
    let second = Arc::new(ServerIdentity::load(&files).unwrap());
    watch.server("ssl:444".to_owned(), &second);
    fs::remove_file(&files.private_key).unwrap();
    assert_eq!(next(&told).name, "ssl:444");
}
