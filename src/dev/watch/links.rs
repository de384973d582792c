//! Symbolic links: a change of what one leads to is a change of the link, wherever that is. So the directory that the target
//! is in has to be watched, and its name there is remembered.

use super::below::below;
use super::tree::{Identity, identity};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// So many are followed.
const MOST: usize = 4096;

/// Where something is: its directory, and its name there.
type Place = (Identity, OsString);

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
    /// Remembers where a link leads to, whether or not it is there; gives the directory of that. One that leads to the root, or
    /// above it, leads to nothing new.
    pub(super) fn add(&mut self, root: &Path, name: &Path, path: &Path) -> Option<(PathBuf, Identity)> {
        let _ = self.remove(name);
        let target = fs::canonicalize(path).ok().or_else(|| missing_target(path))?;
        if root.starts_with(&target) {
            return None;
        }
        let (directory, last) = (target.parent()?, target.file_name()?);
        let identity = identity(directory)?;
        if self.from.len() >= MOST {
            return None;
        }
        let place = (identity, last.to_owned());
        self.to.entry(place.clone()).or_default().push(name.to_owned());
        self.from.insert(name.to_owned(), place);
        self.into.entry(identity).or_default().insert(name.to_owned());
        Some((directory.to_owned(), identity))
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

    /// Forgets those that lead into a directory, and gives their names.
    pub(super) fn remove_into(&mut self, directory: Identity) -> BTreeSet<PathBuf> {
        let names = self.into.get(&directory).cloned().unwrap_or_default();
        for name in &names {
            self.remove(name);
        }
        names
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

/// Where a link leads to that leads nowhere yet, by its last step.
fn missing_target(path: &Path) -> Option<PathBuf> {
    let target = path.parent()?.join(fs::read_link(path).ok()?);
    Some(fs::canonicalize(target.parent()?).ok()?.join(target.file_name()?))
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
        symlink("no/such/place", path("link")).unwrap();
        let none = links.add(&path("site"), name, &path("link"));
        assert!(none.is_none() && !links.lead_into(identity(&path("out")).unwrap()));
        fs::remove_file(path("link")).unwrap();
        symlink("out", path("link")).unwrap();
        assert!(links.add(&fs::canonicalize(path("out")).unwrap(), name, &path("link")).is_none(), "it is a loop");
    }
}
