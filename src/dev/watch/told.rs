//! What follows from what the system tells.

use super::ears::{Ears, Nobody, Unheard, Watches};
use super::poll::{JUST_NOW, Seen};
use super::queue::{Next, Told};
use super::settle::Touch;
use super::tree::Lost;
use super::{Watch, changed_since};
use log::{debug, warn};
use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Why the system cannot tell any more.
pub(super) struct Deaf {
    error: io::Error,
    /// The directory itself is gone.
    root: Option<PathBuf>,
    ears: Option<Box<Ears>>,
    /// What was told last, and was more than could be followed.
    unheard: Option<Told>,
}

impl Deaf {
    /// The reason as a line, with the remedy.
    pub(super) fn why(&self) -> String {
        if let Some(unheard) = self.error.get_ref().and_then(|error| error.downcast_ref::<Unheard>()) {
            return unheard.to_string();
        }
        match &self.root {
            Some(root) => format!("{} is gone: it is looked for again and again", root.display()),
            None => format!(
                "cannot watch so many directories ({}): they are looked at again and again; \
                 a larger fs.inotify.max_user_watches or max_user_instances is the remedy",
                self.error
            ),
        }
    }
}

/// Since when it is not known whether what is watched is what matters. A walk through everything takes long, so all that asks
/// for one within a moment gets it together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale {
    since: SystemTime,
    first: Instant,
    last: Instant,
}

impl Stale {
    /// So long nobody else may have asked.
    const QUIET: Duration = Duration::from_millis(20);
    /// But nobody waits longer than this.
    const LONGEST: Duration = Duration::from_secs(1);

    fn due(self) -> Instant {
        (self.last + Stale::QUIET).min(self.first + Stale::LONGEST)
    }
}

/// What has happened to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Made,
    Moved,
    Changed,
    /// It is gone; and whether all that was in it went with it at once.
    Gone {
        whole: bool,
    },
}

fn fate(event: &Event) -> Fate {
    match event.kind {
        EventKind::Remove(_) => Fate::Gone { whole: false },
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Fate::Gone { whole: true },
        EventKind::Modify(ModifyKind::Name(_)) => Fate::Moved,
        EventKind::Create(_) => Fate::Made,
        EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => Fate::Changed,
    }
}

impl Watch {
    /// Lets the system tell, until nobody wants to know any more.
    ///
    /// # Errors
    /// It cannot tell of everything.
    pub(super) fn listen(&mut self) -> Result<(), Deaf> {
        let deaf = |error, ears, unheard| Deaf { error, root: None, ears, unheard };
        let mut ears = Ears::new(self.remote).map_err(|error| deaf(error, None, None))?;
        let mut unheard = None;
        match self.follow(&mut ears, &mut unheard) {
            Ok(()) => Ok(()),
            Err(error) => {
                let root = self.tree.path(Path::new(""));
                let root = Some(root).filter(|root| !root.exists());
                Err(Deaf { root, ..deaf(error, Some(Box::new(ears)), unheard) })
            }
        }
    }

    fn follow(&mut self, ears: &mut Ears, unheard: &mut Option<Told>) -> io::Result<()> {
        let found = self.tree.take_in(Path::new(""), ears)?;
        self.tree.watch_above(ears)?;
        self.touch_unwatched(found.files.iter());
        debug!("{} directories are watched", self.tree.len());
        while !self.inbox.is_closed() {
            let until = self.stale.map(|stale| stale.due()).or(self.settling.deadline());
            match ears.queue.next(until) {
                Next::Told(told) => {
                    if let Err(error) = self.hear(&told, ears) {
                        *unheard = Some(told);
                        return Err(error);
                    }
                }
                Next::Overflow => self.look_anew(),
                Next::Nothing => {}
                Next::End => return Err(io::Error::other("nothing is told any more")),
            }
            self.refresh(Instant::now(), ears)?;
            if self.stale.is_none() {
                self.settle();
            }
        }
        Ok(())
    }

    /// These are all files, and they have changed if they were written before they were watched.
    pub(super) fn touch_unwatched<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>) {
        if let Some(then) = self.unwatched_since.take() {
            self.touch_since(then, files);
        }
    }

    /// These files have changed if they were written since then.
    fn touch_since<'a>(&mut self, then: SystemTime, files: impl Iterator<Item = &'a PathBuf>) {
        for file in files.filter(|file| changed_since(&self.tree.path(file), then)) {
            self.settling.touch(Instant::now(), file, Touch::Changed);
        }
    }

    fn hear(&mut self, told: &Told, ears: &mut impl Watches) -> io::Result<()> {
        let event = match told {
            Ok(event) if !event.need_rescan() => event,
            Ok(_) => {
                self.look_anew();
                return Ok(());
            }
            Err(error) => {
                warn!("a change may have been missed: {error}");
                self.look_anew();
                return Ok(());
            }
        };
        for path in &event.paths {
            let names = self.tree.names_at(path);
            let is_directory = fs::metadata(path).is_ok_and(|metadata| metadata.is_dir());
            match fate(event) {
                Fate::Gone { .. } if is_directory && self.tree.has_taken_in(path, &names) => {
                    self.stay(path, names, ears)?;
                }
                Fate::Gone { whole } => {
                    let whole = whole || self.tree.has_link_at(path);
                    self.forget(path, &names, whole, ears)?;
                }
                Fate::Made | Fate::Moved if is_directory => self.discover(&names, ears)?,
                Fate::Changed if is_directory => {}
                // A link that led to a directory.
                Fate::Made | Fate::Moved if self.tree.knows(&names) => {
                    self.forget(path, &names, true, ears)?;
                    self.written(&names, Touch::Changed, ears)?;
                }
                Fate::Made => self.written(&names, Touch::Made, ears)?,
                Fate::Moved | Fate::Changed => self.written(&names, Touch::Changed, ears)?,
            }
            // What was ignored may not be any more, and what was not may be.
            if self.tree.rules.learn(path) {
                self.mark_stale();
            }
        }
        Ok(())
    }

    /// A directory that is there has been told to be gone: it was another of the same name, which somebody had held open, or it
    /// was moved here, and watched here before that was told. The system may have stopped watching the path with it.
    fn stay(&mut self, path: &Path, mut names: Vec<PathBuf>, ears: &mut impl Watches) -> io::Result<()> {
        let lost = self.tree.forget(path, &names, ears);
        names.extend(lost.again);
        self.regain(names, ears)
    }

    fn written(&mut self, names: &[PathBuf], touch: Touch, ears: &mut impl Watches) -> io::Result<()> {
        self.touch(names, touch);
        self.tree.follow_links(names, ears)
    }

    fn touch(&mut self, names: &[PathBuf], touch: Touch) {
        if let Some(name) = self.tree.counts(names) {
            self.settling.touch(Instant::now(), name, touch);
        }
    }

    /// A directory has come, or a link to one. Files may have been made in it before we have heard of it.
    fn discover(&mut self, names: &[PathBuf], ears: &mut impl Watches) -> io::Result<()> {
        for name in names {
            let found = self.tree.take_in(name, ears)?;
            for file in &found.files {
                self.settling.touch(Instant::now(), file, Touch::Made);
            }
            if found.files.is_empty() && found.lost.counted {
                self.settling.touch(Instant::now(), name, Touch::Changed);
            }
            self.regain(found.lost.again, ears)?;
        }
        Ok(())
    }

    /// Takes in again what was watched by a path that is gone. What was written meanwhile has changed.
    fn regain(&mut self, mut names: Vec<PathBuf>, ears: &mut impl Watches) -> io::Result<()> {
        let then = SystemTime::now() - JUST_NOW;
        while let Some(name) = names.pop() {
            let found = self.tree.take_in(&name, ears)?;
            self.touch_since(then, found.files.iter());
            names.extend(found.lost.again);
        }
        Ok(())
    }

    fn forget(&mut self, path: &Path, names: &[PathBuf], whole: bool, ears: &mut impl Watches) -> io::Result<()> {
        // What only links lead into has no name.
        if names.is_empty() && !self.tree.watches(path) {
            return Ok(());
        }
        let lost = self.lose(path, names, whole, ears);
        self.regain(lost.again, ears)?;
        // Another may be there already, with files that are old.
        for (name, before) in lost.led.into_iter().filter(|_| whole) {
            if self.tree.leads_elsewhere(&name, &before) {
                self.touch(&[name], Touch::Changed);
            }
        }
        // It may have been moved together with what is above it.
        let root = PathBuf::new();
        if names.contains(&root) || !self.tree.knows(&[root]) { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    /// What was moved away, or what a link led to, has gone without a word about its files; of what is removed each is told.
    fn lose(&mut self, path: &Path, names: &[PathBuf], whole: bool, ears: &mut impl Watches) -> Lost {
        let lost = self.tree.forget(path, names, ears);
        self.touch(names, Touch::Changed);
        if let Some(name) = names.first().filter(|_| whole && lost.counted) {
            let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
            self.settling.touch(Instant::now(), name, Touch::Changed);
        }
        lost
    }

    /// Something has been missed.
    fn look_anew(&mut self) {
        self.settling.overflow(Instant::now());
        self.mark_stale();
    }

    /// What is watched may not be what matters any more.
    fn mark_stale(&mut self) {
        let now = Instant::now();
        self.stale = Some(match self.stale {
            Some(stale) => Stale { last: now, ..stale },
            None => Stale { since: SystemTime::now(), first: now, last: now },
        });
    }

    /// Takes in everything anew if that is due. What is watched from now on, and was written since it should have been, has changed.
    fn refresh(&mut self, now: Instant, ears: &mut impl Watches) -> io::Result<()> {
        let Some(stale) = self.stale.take_if(|stale| stale.due() <= now) else { return Ok(()) };
        let again = self.tree.take_in_again(ears)?;
        self.touch_since(stale.since - JUST_NOW, again.fresh.iter());
        Ok(())
    }

    /// Takes account of what has been told and not been heard, and looks at all files; what happens from then on, the next look
    /// shows.
    pub(super) fn catch_up(&mut self, deaf: Deaf) -> Seen {
        let (mut seen, mut come) = (Seen::default(), Vec::new());
        let Some(mut ears) = deaf.ears else { return seen };
        deaf.unheard.into_iter().chain(ears.rest()).for_each(|told| self.note(&told, &mut come));
        seen.look(&mut self.tree);
        ears.rest().iter().for_each(|told| self.note(told, &mut come));
        for file in seen.files().filter(|file| come.iter().any(|directory| file.starts_with(directory))) {
            self.settling.touch(Instant::now(), file, Touch::Made);
        }
        self.touch_unwatched(seen.files());
        seen
    }

    /// The same as [`Self::hear`], without watching anything more. Directories that have come are added to `come`.
    fn note(&mut self, told: &Told, come: &mut Vec<PathBuf>) {
        if let Ok(event) = told
            && matches!(fate(event), Fate::Made | Fate::Moved)
        {
            come.extend(event.paths.iter().filter(|path| path.is_dir()).flat_map(|path| self.tree.names_at(path)));
        }
        // If the root is gone, looking for it shows that.
        let _ = self.hear(told, &mut Nobody);
    }
}

#[cfg(test)]
mod tests;
