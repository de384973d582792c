//! What follows from what is told, without anybody who tells.

use super::{Deaf, Fate, JUST_NOW, Stale, fate};
use crate::dev::settings::Files;
use crate::dev::watch::Watch;
use crate::dev::watch::ears::{Ears, Nobody, Watches};
use crate::dev::watch::rules::Rules;
use crate::dev::watch::tree::Tree;
use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, EventKind};
use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};
use tempfile::TempDir;

/// What watches a directory, with nothing known of it yet.
fn watch(root: &Path, files: &Files) -> Watch {
    let (inbox, _) = tokio::sync::mpsc::unbounded_channel();
    let tree = Tree::new(root, Rules::new(root, files).unwrap());
    Watch::new(tree, inbox, |_| None)
}

/// Remembers what is watched, and how often that of the root was asked for.
#[derive(Default)]
struct Recorder {
    watched: Vec<PathBuf>,
    all: Vec<PathBuf>,
}

impl Watches for Recorder {
    fn watch(&mut self, path: &Path, _: u64) -> io::Result<()> {
        self.unwatch(path);
        self.watched.push(path.to_owned());
        self.all.push(path.to_owned());
        Ok(())
    }

    fn unwatch(&mut self, path: &Path) {
        self.watched.retain(|watched| watched != path);
    }
}

/// The directory, and what watches it from now on.
fn watched(files: &Files) -> (TempDir, Watch, Recorder) {
    let folder = tempfile::tempdir().unwrap();
    let (mut watch, mut ears) = (watch(folder.path(), files), Recorder::default());
    watch.tree.take_in(Path::new(""), &mut ears).unwrap();
    (folder, watch, ears)
}

fn tell(watch: &mut Watch, ears: &mut Recorder, kind: EventKind, path: &Path) {
    watch.hear(&Ok(Event::new(kind).add_path(path.to_owned())), ears).unwrap();
}

/// A directory `site` below the folder, and what watches its files in Python; beside it are these files.
fn site(files: &[&str], links: &[(&str, &str)]) -> (TempDir, PathBuf, Watch, Recorder) {
    let folder = tempfile::tempdir().unwrap();
    let beside = fs::canonicalize(folder.path()).unwrap();
    let site = beside.join("site");
    fs::create_dir(&site).unwrap();
    files.iter().for_each(|file| write(&beside.join(file)));
    links.iter().for_each(|(to, name)| symlink(to, site.join(name)).unwrap());
    let files = Files { patterns: vec!["*.py".into()], ignore_files: true, ..Files::default() };
    let (mut watch, mut ears) = (watch(&site, &files), Recorder::default());
    watch.tree.take_in(Path::new(""), &mut ears).unwrap();
    (folder, beside, watch, ears)
}

fn write(file: &Path) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "").unwrap();
}

/// What has changed since the last time.
fn changed(watch: &mut Watch) -> Vec<String> {
    let mut settling = std::mem::take(&mut watch.settling);
    let Some(settled) = settling.deadline().and_then(|deadline| settling.settled(deadline)) else { return Vec::new() };
    settled.files.iter().map(|(path, _)| path.display().to_string()).collect()
}

const MADE: EventKind = EventKind::Create(CreateKind::Any);
const COME: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
const LEFT: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
const GONE: EventKind = EventKind::Remove(RemoveKind::Any);

#[test]
fn a_late_word_of_one_that_is_gone_is_not_about_the_one_that_was_made_anew() {
    let (folder, mut watch, mut ears) = watched(&Files::default());
    let path = folder.path().join("a");
    fs::create_dir_all(path.join("in")).unwrap();
    tell(&mut watch, &mut ears, MADE, &path);
    let both = [folder.path().to_owned(), path.clone(), path.join("in")];
    assert_eq!(ears.watched, both);
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir_all(path.join("in")).unwrap();
    tell(&mut watch, &mut ears, GONE, &path);
    tell(&mut watch, &mut ears, MADE, &path);
    let before = ears.all.len();
    tell(&mut watch, &mut ears, GONE, &path);
    assert_eq!(ears.watched, both, "it is watched, and so is what is in it");
    assert_eq!(ears.all.len(), before + 2, "again, in case that it was not any more");
    assert_eq!(watch.tree.names_at(&path.join("in/x.py")), [PathBuf::from("a/in/x.py")]);
    fs::remove_dir_all(&path).unwrap();
    tell(&mut watch, &mut ears, GONE, &path);
    assert_eq!(ears.watched, both[..1], "and one that is gone is");
}

#[test]
fn what_a_link_leads_into_stays_watched_when_another_leads_elsewhere() {
    let files = ["out/v1/conf.py", "out/v2/conf.py"];
    let (_folder, beside, mut watch, mut ears) = site(&files, &[("../out/v1", "current")]);
    symlink("../out/v1/conf.py", beside.join("site/z.py")).unwrap();
    tell(&mut watch, &mut ears, MADE, &beside.join("site/z.py"));
    symlink("../out/v2", beside.join("next")).unwrap();
    fs::rename(beside.join("next"), beside.join("site/current")).unwrap();
    tell(&mut watch, &mut ears, COME, &beside.join("site/current"));
    let target = beside.join("out/v1");
    assert!(ears.watched.contains(&target), "{:?}", ears.watched);
    assert_eq!(watch.tree.names_at(&target.join("conf.py")), [PathBuf::from("z.py")]);
}

/// What only a file's link leads into is made anew, as a build does it: removed, and told of, before it is there again.
fn make_anew(beside: &Path, watch: &mut Watch, ears: &mut Recorder, target: &Path) {
    fs::remove_dir_all(target).unwrap();
    tell(watch, ears, GONE, &target.join("conf.py"));
    tell(watch, ears, GONE, target);
    let parent = target.parent().unwrap().to_owned();
    assert!(ears.watched.contains(&parent) && !ears.watched.contains(&target.to_owned()), "{:?}", ears.watched);
    assert_eq!(changed(watch), ["conf.py"]);
    fs::create_dir(target).unwrap();
    tell(watch, ears, MADE, target);
    assert!(ears.watched.contains(&target.to_owned()), "{:?}", ears.watched);
    assert_eq!(changed(watch), [""; 0], "the link leads nowhere still");
    write(&target.join("conf.py"));
    tell(watch, ears, MADE, &target.join("conf.py"));
    assert_eq!(changed(watch), ["conf.py"]);
    assert_eq!(ears.watched.contains(&parent), parent.starts_with(beside.join("site")), "nobody waits there any more");
}

#[test]
fn a_directory_that_only_links_lead_into_may_be_made_anew() {
    let (_folder, beside, mut watch, mut ears) = site(&["out/gen/conf.py"], &[("../out/gen/conf.py", "conf.py")]);
    for _ in 0..2 {
        make_anew(&beside, &mut watch, &mut ears, &beside.join("out/gen"));
    }
    // All at once, with what is above it.
    fs::remove_dir_all(beside.join("out")).unwrap();
    tell(&mut watch, &mut ears, GONE, &beside.join("out/gen/conf.py"));
    tell(&mut watch, &mut ears, GONE, &beside.join("out/gen"));
    assert!(ears.watched.contains(&beside), "{:?}", ears.watched);
    changed(&mut watch);
    write(&beside.join("out/gen/conf.py"));
    tell(&mut watch, &mut ears, MADE, &beside.join("out"));
    assert_eq!(changed(&mut watch), ["conf.py"]);
    assert_eq!(ears.watched, [beside.join("site"), beside.join("out/gen")]);
}

#[test]
fn an_ignored_directory_that_a_link_leads_into_may_be_made_anew() {
    let (_folder, beside, mut watch, mut ears) = site(&["site/.gitignore", "site/dist/conf.py"], &[]);
    fs::write(beside.join("site/.gitignore"), "dist\n").unwrap();
    watch.tree.rules.learn(&beside.join("site/.gitignore"));
    symlink("dist/conf.py", beside.join("site/conf.py")).unwrap();
    watch.tree.take_in_again(&mut ears).unwrap();
    for _ in 0..2 {
        make_anew(&beside, &mut watch, &mut ears, &beside.join("site/dist"));
    }
}

#[test]
fn a_directory_that_only_links_lead_into_may_give_way_to_another() {
    let files = ["gen/conf.py", "new/conf.py"];
    let (_folder, beside, mut watch, mut ears) = site(&files, &[("../gen/conf.py", "conf.py")]);
    let generated = beside.join("gen");
    fs::rename(&generated, beside.join("old")).unwrap();
    tell(&mut watch, &mut ears, LEFT, &generated);
    assert_eq!(changed(&mut watch), ["conf.py"]);
    assert_eq!(ears.watched, [beside.join("site"), beside.clone()]);
    fs::rename(beside.join("new"), &generated).unwrap();
    tell(&mut watch, &mut ears, COME, &generated);
    assert_eq!(changed(&mut watch), ["conf.py"]);
    assert_eq!(ears.watched, [beside.join("site"), generated.clone()]);
    // Both at once.
    fs::rename(&generated, beside.join("new")).unwrap();
    fs::rename(beside.join("old"), &generated).unwrap();
    tell(&mut watch, &mut ears, LEFT, &generated);
    assert_eq!(changed(&mut watch), ["conf.py"]);
    assert_eq!(watch.tree.names_at(&generated.join("conf.py")), [PathBuf::from("conf.py")]);
    assert_eq!(ears.watched, [beside.join("site"), generated]);
}

#[test]
fn a_link_to_a_directory_that_is_not_there_waits_for_it() {
    let (_folder, beside, mut watch, mut ears) = site(&[], &[("../out/v1", "current")]);
    write(&beside.join("out/v1/conf.py"));
    tell(&mut watch, &mut ears, MADE, &beside.join("out"));
    assert_eq!(changed(&mut watch), ["current/conf.py"]);
}

#[test]
fn a_root_that_was_moved_with_what_is_above_it_is_gone() {
    let (_folder, beside, mut watch, mut ears) = site(&["top/x"], &[("../none/x.py", "x.py")]);
    assert!(ears.watched.contains(&beside), "the link waits there");
    let away = beside.with_extension("away");
    fs::rename(&beside, &away).unwrap();
    let error = watch.hear(&Ok(Event::new(LEFT).add_path(beside.clone())), &mut ears).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    fs::rename(away, beside).unwrap();
}

#[test]
fn a_late_word_of_a_move_is_not_about_where_it_was_moved_to() {
    let (folder, mut watch, mut ears) = watched(&Files::default());
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    fs::create_dir(&old).unwrap();
    tell(&mut watch, &mut ears, MADE, &old);
    fs::rename(&old, &new).unwrap();
    tell(&mut watch, &mut ears, LEFT, &old);
    tell(&mut watch, &mut ears, COME, &new);
    tell(&mut watch, &mut ears, LEFT, &new);
    assert_eq!(ears.watched, [folder.path(), &new]);
    assert_eq!(watch.tree.names_at(&new.join("x.py")), [PathBuf::from("new/x.py")]);
    watch.note(&Ok(Event::new(LEFT).add_path(new.clone())), &mut Vec::new());
    assert!(watch.tree.knows(&["new".into()]));
    fs::rename(&new, &old).unwrap();
    tell(&mut watch, &mut ears, LEFT, &new);
    assert_eq!(ears.watched, [folder.path()]);
}

#[test]
fn a_link_to_a_directory_that_is_removed_is_a_change_and_what_it_led_to_is_none_besides() {
    for watches in [true, false] {
        let (_folder, beside, mut watch, mut ears) = site(&["out/v1/conf.py"], &[("../out/v1", "current")]);
        let mut gone = |watch: &mut Watch, path: &Path| match watches {
            true => tell(watch, &mut ears, GONE, path),
            false => watch.note(&Ok(Event::new(GONE).add_path(path.to_owned())), &mut Vec::new()),
        };
        let target = beside.join("out/v1");
        fs::remove_dir_all(&target).unwrap();
        gone(&mut watch, &target);
        assert_eq!(changed(&mut watch), [""; 0], "of each file there is a word");
        write(&target.join("conf.py"));
        watch.tree.take_in(Path::new("current"), &mut Nobody).unwrap();
        fs::remove_file(beside.join("site/current")).unwrap();
        gone(&mut watch, &beside.join("site/current"));
        assert_eq!(changed(&mut watch), ["current"]);
    }
}

#[test]
fn what_is_told_too_late_to_be_followed_is_taken_account_of_all_the_same() {
    let (_folder, beside, mut watch, _) = site(&["out/v1/conf.py"], &[("../out/v1", "current.py")]);
    let mut come = Vec::new();
    let link = beside.join("site/current.py");
    let mut note = |watch: &mut Watch, kind, path: &Path| {
        watch.note(&Ok(Event::new(kind).add_path(path.to_owned())), &mut come);
        changed(watch)
    };
    assert_eq!(note(&mut watch, EventKind::Modify(ModifyKind::Any), &link), [""; 0], "its time may have changed");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "").unwrap();
    assert_eq!(note(&mut watch, COME, &link), ["current.py"], "it was a link to a directory");
    write(&beside.join("site/new/a.py"));
    assert_eq!(note(&mut watch, MADE, &beside.join("site/new")), ["new/a.py"]);
    assert_eq!(come, [PathBuf::from("new")]);
}

#[test]
fn many_ignore_files_that_change_within_a_moment_are_one_walk() {
    let (folder, mut watch, mut ears) = watched(&Files { ignore_files: true, ..Files::default() });
    let walks = |ears: &Recorder| ears.all.iter().filter(|path| *path == folder.path()).count() - 1;
    for number in 0..100 {
        let directory = folder.path().join(number.to_string());
        fs::create_dir(&directory).unwrap();
        tell(&mut watch, &mut ears, MADE, &directory);
        tell(&mut watch, &mut ears, MADE, &directory.join(".gitignore"));
    }
    let now = Instant::now();
    assert_eq!(walks(&ears), 0);
    watch.refresh(now, &mut ears).unwrap();
    assert_eq!(walks(&ears), 0, "more may come");
    let due = watch.stale.unwrap().due();
    assert!(due <= now + Stale::QUIET);
    watch.refresh(due, &mut ears).unwrap();
    watch.refresh(due + Stale::LONGEST, &mut ears).unwrap();
    assert_eq!(walks(&ears), 1);
    // However many come, it is not put off for ever; nor what has been missed.
    watch.look_anew();
    let stale = watch.stale.unwrap();
    watch.stale = Some(Stale { last: stale.first + Stale::LONGEST * 2, ..stale });
    watch.refresh(stale.first + Stale::LONGEST, &mut ears).unwrap();
    assert_eq!(walks(&ears), 2);
}

#[test]
fn moves_are_told_apart() {
    let moved = |mode| fate(&Event::new(EventKind::Modify(ModifyKind::Name(mode))));
    assert_eq!(moved(RenameMode::From), Fate::Gone { whole: true });
    assert_eq!(moved(RenameMode::To), Fate::Moved);
    assert_eq!(fate(&Event::new(EventKind::Remove(RemoveKind::Any))), Fate::Gone { whole: false });
    assert_eq!(fate(&Event::new(EventKind::Modify(ModifyKind::Any))), Fate::Changed);
}

#[test]
fn what_is_written_before_it_is_watched_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("a.py"), "").unwrap();
    let begin = |unwatched_since| Watch { unwatched_since: Some(unwatched_since), ..watch(root, &Files::default()) };
    let touched = |watch: &mut Watch| {
        watch.touch_unwatched([PathBuf::from("a.py")].iter());
        watch.settling.deadline().is_some()
    };
    let before = SystemTime::now() - JUST_NOW;
    assert!(touched(&mut begin(before)));
    assert!(!touched(&mut begin(SystemTime::now() + JUST_NOW)));
    let mut watch = begin(before);
    watch.unwatched_since = None;
    assert!(!touched(&mut watch), "all is watched");
}

/// A directory that is on another device than any other.
const FAR: &str = "/proc/sys/fs";

#[test]
fn what_nothing_is_told_of_is_looked_at_wherever_it_is() {
    let remote = |path: &Path| path.starts_with("/proc").then_some("NFS");
    let far_file = format!("{FAR}/file-max");
    for links in [&[(FAR, "far")][..], &[(&*far_file, "a.py")]] {
        let (_folder, beside, ..) = site(&[], links);
        let files = Files { patterns: vec!["*.py".into()], ..Files::default() };
        let mut watch = Watch { remote, ..watch(&beside.join("site"), &files) };
        let deaf = watch.listen().unwrap_err();
        let told = "no changes are told of files on NFS, as those in /proc/sys";
        assert!(deaf.why().starts_with(told), "{}", deaf.why());
        let counted = usize::from(links[0].1 == "a.py");
        assert_eq!(watch.catch_up(deaf).files().count(), counted, "they are looked at");
    }
    // The root itself.
    let folder = tempfile::tempdir().unwrap();
    let mut watch = Watch { remote: |_| Some("NFS"), ..watch(folder.path(), &Files::default()) };
    assert!(watch.listen().is_err_and(|deaf| deaf.why().starts_with("no changes are told of files on NFS")));
}

#[test]
fn a_device_is_asked_for_once() {
    thread_local! {
        static ASKED: Cell<usize> = const { Cell::new(0) };
    }
    fn count(_: &Path) -> Option<&'static str> {
        ASKED.set(ASKED.get() + 1);
        None
    }
    let (_folder, beside, ..) = site(&["site/a/x.py", "site/b/c/x.py"], &[(FAR, "far")]);
    let (mut watch, mut ears) = (watch(&beside.join("site"), &Files::default()), Ears::new(count).unwrap());
    watch.tree.take_in(Path::new(""), &mut ears).unwrap();
    assert!(watch.tree.len() > 4);
    assert_eq!(ASKED.get(), 2);
}

#[test]
fn the_reason_names_the_remedy_or_what_is_gone() {
    let deaf = |root| Deaf { error: io::Error::from_raw_os_error(libc::ENOSPC), root, ears: None, unheard: None };
    let why = deaf(None).why();
    assert!(why.contains("(No space left on device") && why.contains("max_user_watches"), "{why}");
    assert!(deaf(Some("/a".into())).why().starts_with("/a is gone"));
}
