use super::{SCHEMA, Saved, SavedOptions, SavedRule, SavedShare, Store, StoreError};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn saved(destination: &str) -> Saved {
    let share = Some(SavedShare { destination: "unix:/c".into(), percent: 5 });
    let rule = SavedRule { source: "tcp:1".into(), destination: destination.into(), share, paused: true };
    let options = SavedOptions {
        connect_timeout: Some("250ms".parse().unwrap()),
        idle_timeout: Some("never".parse().unwrap()),
        trust: vec!["10.0.0.0/8".into()],
        ..SavedOptions::default()
    };
    Saved { schema: SCHEMA, options, rules: vec![rule] }
}

fn loaded(directory: &Path) -> (Saved, bool) {
    let loaded = Store::new(directory).load().unwrap().unwrap();
    (loaded.saved, loaded.instead_of.is_some())
}

fn two() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::new(directory.path());
    store.save(&saved("unix:/a")).unwrap();
    store.save(&saved("unix:/b")).unwrap();
    directory
}

#[test]
fn what_is_saved_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Store::new(directory.path()).load().unwrap().is_none());
    Store::new(directory.path()).save(&saved("unix:/a")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/a"), false));
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names, ["forward.json"], "nothing else is left");
}

#[test]
fn a_damaged_file_gives_way_to_the_one_before() {
    let directory = two();
    let path = directory.path().join("forward.json");
    let whole = fs::read(&path).unwrap();
    for bad in [&whole[..whole.len() / 2], b"", b"garbage", b"{}", b"{\"schema\":1}", &[0; 100]] {
        fs::write(&path, bad).unwrap();
        assert_eq!(loaded(directory.path()), (saved("unix:/a"), true));
    }
    // The damaged one does not become the one before.
    let mut store = Store::new(directory.path());
    store.load().unwrap();
    store.save(&saved("unix:/c")).unwrap();
    fs::write(&path, "garbage").unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/a"), true));
    fs::write(directory.path().join("forward.json.previous"), "garbage").unwrap();
    assert!(matches!(Store::new(directory.path()).load(), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_file_that_is_missing_is_replaced_by_the_one_before() {
    let directory = two();
    fs::remove_file(directory.path().join("forward.json")).unwrap();
    let loaded = Store::new(directory.path()).load().unwrap().unwrap();
    assert_eq!(loaded.saved, saved("unix:/a"));
    assert!(matches!(loaded.instead_of, Some(StoreError::Missing { .. })));
    fs::remove_file(directory.path().join("forward.json.previous")).unwrap();
    assert!(Store::new(directory.path()).load().unwrap().is_none());
}

#[test]
fn a_later_version_is_no_damage() {
    let directory = two();
    fs::write(directory.path().join("forward.json"), r#"{"schema":2,"rules":"elsewhere"}"#).unwrap();
    let error = Store::new(directory.path()).load().unwrap_err();
    assert!(matches!(error, StoreError::Later { schema: 2, .. }), "{error}");
}

#[test]
fn what_cannot_be_saved_leaves_what_was() {
    let directory = two();
    let mut store = Store::new(directory.path());
    store.load().unwrap();
    // Whoever is in the way, root cannot write there either.
    fs::create_dir(directory.path().join(".forward.json.new")).unwrap();
    assert!(matches!(store.save(&saved("unix:/c")), Err(StoreError::Write { .. })));
    assert_eq!(loaded(directory.path()), (saved("unix:/b"), false));
    fs::remove_dir(directory.path().join(".forward.json.new")).unwrap();
    store.save(&saved("unix:/c")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/c"), false));
}

#[test]
fn the_same_again_keeps_the_one_before() {
    let directory = two();
    let mut store = Store::new(directory.path());
    store.load().unwrap();
    store.save(&saved("unix:/b")).unwrap();
    fs::remove_file(directory.path().join("forward.json")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/a"), true));
    // Unless it is looked for.
    store.look_again();
    store.save(&saved("unix:/b")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/b"), false));
}

#[test]
fn what_others_have_saved_meanwhile_is_the_one_before() {
    let directory = two();
    let mut store = Store::new(directory.path());
    store.load().unwrap();
    Store::new(directory.path()).save(&saved("unix:/other")).unwrap();
    store.look_again();
    store.save(&saved("unix:/b")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/b"), false));
    fs::remove_file(directory.path().join("forward.json")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/other"), true));
    // What is damaged is not worth keeping.
    fs::write(directory.path().join("forward.json"), "garbage").unwrap();
    store.look_again();
    store.save(&saved("unix:/b")).unwrap();
    fs::remove_file(directory.path().join("forward.json")).unwrap();
    assert_eq!(loaded(directory.path()), (saved("unix:/other"), true));
}

#[test]
fn given_options_go_before_saved_ones() {
    let given = SavedOptions { threads: Some(2), ..SavedOptions::default() };
    let both = given.or(saved("unix:/a").options);
    assert_eq!((both.threads, both.trust), (Some(2), vec!["10.0.0.0/8".to_string()]));
    assert_eq!(both.connect_timeout.unwrap().to_string(), "250ms");
}
