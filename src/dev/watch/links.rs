//! Symbolic links: a change of what one leads to is a change of the link, wherever that is. So the directory that the target
//! is in has to be watched, and its name there is remembered.

use super::below::below;
use super::tree::{Identity, identity};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// So many are followed.
const MOST: usize = 4096;
/// And so many one after the other.
const MOST_STEPS: usize = 40;

/// Where something is: its directory, and its name there.
pub(super) type Place = (Identity, OsString);

/// The links of a tree.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The names of links by what they lead to.
    to: HashMap<Place, Vec<PathBuf>>,
    from: BTreeMap<PathBuf, Place>,
    /// Those that lead into a directory.
    into: HashMap<Identity, BTreeSet<PathBuf>>,
}

impl Links {
    /// Remembers where a link leads to; gives the directory of that. If it is not there, that is the first thing on the way that
    /// is missing, and the directory where it would be. One that leads to the root, or above it, leads to nothing new.
    pub(super) fn add(&mut self, root: &Path, name: &Path, path: &Path) -> Option<(PathBuf, Identity)> {
        let _ = self.remove(name);
        let (directory, last) = place(path)?;
        if root.starts_with(directory.join(&last)) {
            return None;
        }
        let identity = identity(&directory)?;
        if self.from.len() >= MOST {
            return None;
        }
        let place = (identity, last);
        self.to.entry(place.clone()).or_default().push(name.to_owned());
        self.from.insert(name.to_owned(), place);
        self.into.entry(identity).or_default().insert(name.to_owned());
        Some((directory, identity))
    }

    /// Forgets those links of this name, and of names below it, for which it is so; gives the directories that none leads into
    /// any more.
    pub(super) fn remove_below(&mut self, name: &Path, so: impl Fn(&Path) -> bool) -> Vec<Identity> {
        let names: Vec<_> = below(&self.from, name).map(|(name, _)| name).filter(|name| so(name)).cloned().collect();
        names.iter().filter_map(|name| self.remove(name)).collect()
    }

    /// Forgets a link; gives the directory that it led into if it was the last one.
    pub(super) fn remove(&mut self, name: &Path) -> Option<Identity> {
        let place = self.from.remove(name)?;
        if let Some(names) = self.to.get_mut(&place) {
            names.retain(|other| other != name);
            if names.is_empty() {
                self.to.remove(&place);
            }
        }
        let others = self.into.get_mut(&place.0)?;
        others.remove(name);
        others.is_empty().then(|| {
            self.into.remove(&place.0);
            place.0
        })
    }

    /// Forgets those that lead into a directory, and gives them.
    pub(super) fn remove_into(&mut self, directory: Identity) -> Vec<(PathBuf, Place)> {
        let names = self.into.get(&directory).cloned().unwrap_or_default();
        let places: Vec<_> = names.into_iter().filter_map(|name| Some((self.from.get(&name)?.clone(), name))).collect();
        for (_, name) in &places {
            self.remove(name);
        }
        places.into_iter().map(|(place, name)| (name, place)).collect()
    }

    /// Where a link leads to.
    pub(super) fn place(&self, name: &Path) -> Option<&Place> {
        self.from.get(name)
    }

    /// The links that lead to this name in a directory.
    pub(super) fn to(&self, directory: Identity, last: &OsStr) -> &[PathBuf] {
        self.to.get(&(directory, last.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Whether any leads into a directory.
    pub(super) fn lead_into(&self, directory: Identity) -> bool {
        self.into.contains_key(&directory)
    }
}

/// Where a path leads to in the end, or the first thing on the way there that is missing; see path_resolution(7).
fn place(path: &Path) -> Option<(PathBuf, OsString)> {
    if let Ok(target) = fs::canonicalize(path) {
        return Some((target.parent()?.to_owned(), target.file_name()?.to_owned()));
    }
    let (mut directory, mut followed) = (PathBuf::from("/"), 0);
    let mut left: VecDeque<_> = parts(path).collect();
    while let Some(part) = left.pop_front() {
        if part == ".." {
            directory.pop();
            continue;
        }
        let next = directory.join(&part);
        match fs::read_link(&next) {
            Ok(_) if followed == MOST_STEPS => return None,
            Ok(target) => {
                followed += 1;
                if target.is_absolute() {
                    directory = PathBuf::from("/");
                }
                parts(&target).rev().for_each(|part| left.push_front(part));
            }
            Err(_) if next.is_dir() => directory = next,
            Err(_) => return Some((directory, part)),
        }
    }
    None
}

/// The names on the way.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::Links;
    use crate::dev::watch::tree::identity;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn a_link_is_found_by_what_it_leads_to_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("out")).unwrap();
        fs::write(path("out/a"), "").unwrap();
        symlink("out/a", path("far")).unwrap();
        symlink("far", path("link")).unwrap();
        let (mut links, name) = (Links::default(), Path::new("link"));
        let (directory, out) = links.add(&path("site"), name, &path("link")).unwrap();
        assert_eq!(directory, fs::canonicalize(path("out")).unwrap());
        assert_eq!(links.to(out, "a".as_ref()), [name]);
        fs::remove_file(path("link")).unwrap();
        symlink("out/none", path("link")).unwrap();
        links.add(&path("site"), name, &path("link")).unwrap();
        assert_eq!(links.to(out, "none".as_ref()), [name], "what is not there may come");
        assert!(links.to(out, "a".as_ref()).is_empty() && links.lead_into(out));
        fs::remove_file(path("link")).unwrap();
        symlink("far/no/such/place", path("link")).unwrap();
        fs::remove_file(path("far")).unwrap();
        symlink("out", path("far")).unwrap();
        assert!(links.add(&path("site"), name, &path("link")).is_some());
        let top = identity(folder.path()).unwrap();
        assert!(links.to(out, "no".as_ref()).len() == 1, "the first thing that is missing may come");
        fs::remove_file(path("far")).unwrap();
        links.add(&path("site"), name, &path("link")).unwrap();
        assert!(links.to(top, "far".as_ref()).len() == 1 && !links.lead_into(out), "or what is on the way there");
        symlink("far", path("far")).unwrap();
        assert!(links.add(&path("site"), name, &path("link")).is_none(), "it leads nowhere for ever");
        fs::remove_file(path("far")).unwrap();
        fs::remove_file(path("link")).unwrap();
        symlink("out", path("link")).unwrap();
        assert!(links.add(&fs::canonicalize(path("out")).unwrap(), name, &path("link")).is_none(), "it is a loop");
    }
}
