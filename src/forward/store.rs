//! The rules and options that outlast the process: `forward.json` in the run directory.
//!
//! A change is written to a file beside it, to the disk, and renamed over it, so that there is always one whole file;
//! the one before is kept as `forward.json.previous`, and taken when the present one is damaged.

#[cfg(test)]
mod tests;

use crate::time::{Time, TimeOrNever};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version of the form.
pub const SCHEMA: u32 = 1;

/// The name of the file.
const FILE: &str = "forward.json";
/// The name of the one before.
const PREVIOUS: &str = "forward.json.previous";

/// All that is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The version of the form.
    pub schema: u32,
    /// What holds for all rules.
    #[serde(default)]
    pub options: SavedOptions,
    /// The rules.
    pub rules: Vec<SavedRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRule {
    /// Where to listen.
    pub source: String,
    /// Where connections go.
    pub destination: String,
    /// Where a share of them goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<SavedShare>,
    /// Whether clients wait.
    #[serde(default)]
    pub paused: bool,
}

/// A share of new connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedShare {
    /// Where it goes.
    pub destination: String,
    /// How much, in percent, from 1 to 99.
    pub percent: u8,
}

/// Options of `start`, as text; `None`: the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the options, which docs/forward.md explains")]
pub struct SavedOptions {
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub connect_timeout: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub idle_timeout: Option<TimeOrNever>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub half_closed_timeout: Option<TimeOrNever>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub proxy_header_timeout: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub stop_timeout: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trust: Vec<String>,
}

impl SavedOptions {
    /// These, and what they leave open from `saved`.
    #[must_use]
    pub fn or(self, saved: SavedOptions) -> SavedOptions {
        SavedOptions {
            connect_timeout: self.connect_timeout.or(saved.connect_timeout),
            idle_timeout: self.idle_timeout.or(saved.idle_timeout),
            half_closed_timeout: self.half_closed_timeout.or(saved.half_closed_timeout),
            proxy_header_timeout: self.proxy_header_timeout.or(saved.proxy_header_timeout),
            stop_timeout: self.stop_timeout.or(saved.stop_timeout),
            threads: self.threads.or(saved.threads),
            max_connections: self.max_connections.or(saved.max_connections),
            trust: if self.trust.is_empty() { saved.trust } else { self.trust },
        }
    }
}

/// Values as the text that they are written as.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.collect_str(value),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// Why something could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is there and cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what we have written.
    #[error("the saved rules in {} are damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        source: serde_json::Error,
    },
    /// It is not there, and the one before is.
    #[error("the saved rules in {} are missing", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A later version of ours has written it.
    #[error("the saved rules in {} are of version {schema}, which is later than {SCHEMA}", .path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        schema: u32,
    },
    /// It cannot be written.
    #[error("cannot save the rules to {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What was found.
#[derive(Debug)]
pub struct Loaded {
    /// What was saved.
    pub saved: Saved,
    /// Why it is the one before the last.
    pub instead_of: Option<StoreError>,
}

/// The place where rules are saved; whoever has the lock of the run directory's pid file has it alone.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    /// What the file holds, as far as we know.
    last: Option<Saved>,
    /// The file is worth keeping as the one before.
    sound: bool,
}

impl Store {
    /// The store of this directory.
    pub fn new(directory: &Path) -> Self {
        Store { directory: directory.to_owned(), last: None, sound: true }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Others may have changed the file, or removed it: what it holds is read again. Where it cannot be read, the next change
    /// to be saved is saved whatever it is.
    pub fn look_again(&mut self) {
        (self.last, self.sound) = (None, true);
        if let Err(error) = self.load() {
            log::warn!("{}", crate::chain(&error));
        }
    }

    /// What is saved, or what was before that if it is damaged or missing; `None`: nothing was ever saved.
    ///
    /// # Errors
    /// Neither of the two can be read and understood.
    pub fn load(&mut self) -> Result<Option<Loaded>, StoreError> {
        let (present, previous) = (self.directory.join(FILE), self.directory.join(PREVIOUS));
        let damaged = match read(&present) {
            Ok(None) => {
                let missing = || Some(StoreError::Missing { path: present.clone() });
                return Ok(read(&previous)?.map(|saved| Loaded { saved, instead_of: missing() }));
            }
            Ok(Some(saved)) => {
                self.last = Some(saved.clone());
                return Ok(Some(Loaded { saved, instead_of: None }));
            }
            Err(error @ StoreError::Damaged { .. }) => error,
            Err(error) => return Err(error),
        };
        self.sound = false;
        match read(&previous) {
            Ok(Some(saved)) => Ok(Some(Loaded { saved, instead_of: Some(damaged) })),
            Ok(None) | Err(_) => Err(damaged),
        }
    }

    /// Saves, unless that is what the file holds already.
    ///
    /// # Errors
    /// It cannot be written; what was saved before is untouched.
    pub fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        if self.last.as_ref() == Some(saved) {
            return Ok(());
        }
        let path = self.directory.join(FILE);
        self.replace(&path, saved).map_err(|source| StoreError::Write { path, source })?;
        (self.last, self.sound) = (Some(saved.clone()), true);
        Ok(())
    }

    fn replace(&self, path: &Path, saved: &Saved) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(saved)?;
        text.push(b'\n');
        let new = self.directory.join(".forward.json.new");
        remove(&new)?;
        let written = write(&new, &text).and_then(|()| if self.sound { self.keep(path) } else { Ok(()) });
        if let Err(error) = written.and_then(|()| fs::rename(&new, path)) {
            // What is left would only be in the way of whoever is short of room.
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        // The names, too.
        File::open(&self.directory)?.sync_all()
    }

    /// Keeps the present file as the one before, by a second name that takes the place of the last such.
    fn keep(&self, path: &Path) -> io::Result<()> {
        let kept = self.directory.join(".forward.json.kept");
        remove(&kept)?;
        match fs::hard_link(path, &kept) {
            Ok(()) => fs::rename(&kept, self.directory.join(PREVIOUS)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// What the version says comes first: a later one may look like damage.
fn read(path: &Path) -> Result<Option<Saved>, StoreError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Read { path: path.into(), source }),
    };
    let damaged = |source| StoreError::Damaged { path: path.into(), source };
    let Version { schema } = serde_json::from_slice(&text).map_err(damaged)?;
    if schema > SCHEMA {
        return Err(StoreError::Later { path: path.into(), schema });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}
