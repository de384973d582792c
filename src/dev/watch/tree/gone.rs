//! What becomes of the tree when something in it is gone.

use super::super::below::below;
use super::super::ears::Watches;
use super::super::links::Place;
use super::{Identity, Tree, identity, is_link};
use std::path::{Path, PathBuf};

/// What is not there any more.
#[derive(Debug, Default)]
pub(in crate::dev::watch) struct Lost {
    /// Names that are to be taken in again: what they lead to, or into, was watched by a path that is gone.
    pub(in crate::dev::watch) again: Vec<PathBuf>,
    /// The links among them that led into what is gone, and where they led.
    pub(in crate::dev::watch) led: Vec<(PathBuf, Place)>,
    /// A file in it has counted.
    pub(in crate::dev::watch) counted: bool,
}

impl Lost {
    pub(super) fn add(&mut self, other: Lost) {
        self.again.extend(other.again);
        self.led.extend(other.led);
        self.counted |= other.counted;
    }
}

impl Tree {
    /// Forgets what was at a path, by all these names if it has any, and all below it. Nothing of it is watched any more.
    pub(in crate::dev::watch) fn forget(&mut self, path: &Path, names: &[PathBuf], ears: &mut impl Watches) -> Lost {
        let (mut lost, mut nameless) = (Lost::default(), Vec::new());
        let inside = names.iter().flat_map(|gone| below(&self.names, gone)).map(|(name, _)| name.clone());
        for name in inside.collect::<Vec<_>>() {
            let Some(directory) = self.names.remove(&name) else { continue };
            lost.counted |= directory.counts;
            let left = self.names_of.entry(directory.identity).or_default();
            // A link to what was moved leads nowhere now.
            let leads_there = |other: &Path| identity(&self.root.join(other)) == Some(directory.identity);
            let stale: Vec<_> = left.extract_if(.., |other| *other == name || !leads_there(other)).collect();
            for other in &stale {
                self.names.remove(other);
            }
            if left.is_empty() {
                self.names_of.remove(&directory.identity);
                nameless.push(directory.identity);
            }
        }
        // What a link leads to is gone more often than the link.
        for gone in names {
            nameless.extend(self.links.remove_below(gone, |name| !is_link(&self.root.join(name))));
        }
        let inside = below(&self.watched, path).map(|(path, identity)| (path.clone(), *identity));
        for (watched, identity) in inside.collect::<Vec<_>>() {
            self.watched.remove(&watched);
            self.path_of.remove(&identity);
            ears.unwatch(&watched);
            let others = self.names_of.remove(&identity).unwrap_or_default();
            for name in &others {
                self.names.remove(name);
            }
            lost.again.extend(others);
            lost.led.extend(self.links.remove_into(identity));
        }
        lost.again.extend(lost.led.iter().map(|(name, _)| name.clone()));
        nameless.into_iter().for_each(|identity| self.release(identity, ears));
        lost
    }

    /// Watches a directory no longer, unless it has a name still, or a link leads into it, or its ignore file matters.
    pub(super) fn release(&mut self, identity: Identity, ears: &mut impl Watches) {
        let is_needed =
            self.names_of.contains_key(&identity) || self.links.lead_into(identity) || self.above.contains(&identity);
        if !is_needed && let Some(path) = self.path_of.remove(&identity) {
            self.watched.remove(&path);
            ears.unwatch(&path);
        }
    }
}
