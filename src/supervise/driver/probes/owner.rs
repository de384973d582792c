//! Who has accepted the connections of a probe, and who could have: looked for in pieces, since processes may have
//! tens of thousands of descriptors, and others want their turn.

use super::{Probing, let_go};
use crate::net::far_end::{self, FarEnd};
use crate::net::to_ourselves::is_connected;
use crate::process::holder::{self, Outcome, Search};
use crate::supervise::probe::{Input as Happened, Seen};
use crate::supervise::state::Number;
use nix::unistd::Pid;
use socket2::Socket;
use std::os::fd::AsFd;

/// Of how many descriptors of another generation's process it is looked whether a probe is among them: it only serves
/// the reason, and one that serves may have many.
const LOOKED_THROUGH: usize = 4096;
/// Of all processes that belong to no generation together no more descriptors than that are looked at.
const LOOKED_THROUGH_OF_ALL: usize = 32_768;

/// The processes that each generation is made of, without those below them.
#[derive(Clone, Debug)]
pub(super) struct Families {
    /// Of the one that is probed.
    pub(super) ours: Vec<Pid>,
    /// Of each other one.
    pub(super) others: Vec<(Number, Vec<Pid>)>,
}

impl Families {
    /// A look at the other generation with this index, and those after it.
    fn search_another(&self, index: usize, inodes: Vec<u64>) -> Option<Search> {
        let (_, roots) = self.others.get(index)?;
        Some(Search::below(roots.clone(), inodes).of_each(LOOKED_THROUGH))
    }

    /// The groups of the one that is probed.
    fn groups(&self) -> Vec<Pid> {
        self.ours.iter().flat_map(|leader| holder::group(*leader)).collect()
    }
}

/// A look that is to be gone on with.
pub(super) enum Looking {
    /// Who has the connections that were accepted.
    Pursues(Pursuit),
    /// Whether anybody else could have accepted one that was closed at once.
    Excludes(Others),
}

impl Probing {
    /// Looks who has the connections, or goes on with it for as long as this is not enough. Of those that the
    /// generation has accepted one is left; those that another has are closed.
    pub(super) fn look(
        &mut self,
        families: &Families,
        listener: Option<u64>,
        enough: &mut impl FnMut() -> bool,
    ) -> Happened {
        let seen = match self.looking.take() {
            Some(Looking::Excludes(others)) => return Happened::Seen(self.exclude(others, enough)),
            Some(Looking::Pursues(pursuit)) => self.pursue(pursuit, enough),
            None => match self.accepted() {
                Err(happened) => return happened,
                Ok(held) if held.is_empty() => Seen::Unseen,
                Ok(held) => self.pursue(Pursuit::new(held, families.clone()), enough),
            },
        };
        Happened::Seen(match (seen, listener) {
            (Seen::Another(_) | Seen::Stranger | Seen::Unseen, _) if !self.tried.is_empty() => Seen::Nobody,
            // A child that closes at once was not seen with it. But where nobody else can accept, it was this one.
            (Seen::Unseen, Some(listener)) if self.probe.path().is_none() => {
                self.exclude(Others::new(listener, families.clone()), enough)
            }
            (seen, _) => seen,
        })
    }

    /// Those connections that somebody has accepted, with their inodes; those that wait stay.
    fn accepted(&mut self) -> Result<Vec<(u64, Socket)>, Happened> {
        let mut held = Vec::new();
        for socket in std::mem::take(&mut self.tried) {
            let far = match is_connected(&socket) {
                Ok(true) => far_end::look(socket.as_fd()),
                Ok(false) => Ok(FarEnd::Waiting),
                Err(error) => return Err(Happened::Unopened(error.to_string())),
            };
            match far {
                Ok(FarEnd::Waiting) => self.tried.push(socket),
                Ok(FarEnd::Held(inode)) => held.push((inode, socket)),
                Ok(FarEnd::Closed) => let_go(socket),
                Err(error) => {
                    let reason = format!("the kernel does not tell who has accepted it: {error}");
                    return Err(Happened::Seen(Seen::Blind(reason)));
                }
            }
        }
        Ok(held)
    }

    fn pursue(&mut self, mut pursuit: Pursuit, enough: &mut impl FnMut() -> bool) -> Seen {
        let seen = pursuit.go_on(enough);
        match seen {
            Seen::NotYet => self.looking = Some(Looking::Pursues(pursuit)),
            Seen::Ours => {
                self.tried.drain(..).for_each(let_go);
                for (is_theirs, socket) in pursuit.into_held() {
                    if is_theirs { self.tried.push(socket) } else { let_go(socket) }
                }
            }
            Seen::Nobody | Seen::Another(_) | Seen::Stranger | Seen::Unseen | Seen::Blind(_) => {
                pursuit.into_held().for_each(|(_, socket)| let_go(socket));
            }
        }
        seen
    }

    fn exclude(&mut self, mut others: Others, enough: &mut impl FnMut() -> bool) -> Seen {
        let seen = others.go_on(enough);
        if seen == Seen::NotYet {
            self.looking = Some(Looking::Excludes(others));
        }
        seen
    }
}

/// The search for whoever has these connections.
#[derive(Debug)]
pub(super) struct Pursuit {
    held: Vec<(u64, Socket)>,
    families: Families,
    below: Vec<Pid>,
    blind: Option<String>,
    /// The inode of the one that the generation has.
    found: Option<u64>,
    stage: Stage,
    search: Search,
}

/// Whose descriptors are looked at.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Those of the generation that is probed, with all that is below.
    Ours,
    /// Those of the other generation with this index.
    Another(usize),
    /// Those of the group. A process whose parent has gone is below nobody, but in the group still.
    Group,
}

impl Pursuit {
    /// Of connections that somebody has accepted, each with the inode by which that process has it.
    pub(super) fn new(held: Vec<(u64, Socket)>, families: Families) -> Pursuit {
        let inodes = held.iter().map(|(inode, _)| *inode).collect();
        let search = Search::below(families.ours.clone(), inodes);
        Pursuit { held, families, below: Vec::new(), blind: None, found: None, stage: Stage::Ours, search }
    }

    /// Looks until there is nothing left to look at, or for as long as this is not enough.
    pub(super) fn go_on(&mut self, enough: &mut impl FnMut() -> bool) -> Seen {
        loop {
            match (self.search.go_on(&mut *enough), self.stage) {
                (Outcome::NotYet, _) => return Seen::NotYet,
                (Outcome::Found(inode), Stage::Ours | Stage::Group) => {
                    self.found = Some(inode);
                    return Seen::Ours;
                }
                (Outcome::Found(_), Stage::Another(index)) => return Seen::Another(self.families.others[index].0),
                (Outcome::Nothing | Outcome::TooMuch, Stage::Ours) => {
                    self.blind = self
                        .search
                        .unreadable()
                        .map(|(pid, error)| format!("the descriptors of process {pid} cannot be read: {error}"));
                    self.below = self.search.pids().to_vec();
                    self.look_at_another(0);
                }
                (Outcome::Nothing | Outcome::TooMuch, Stage::Another(index)) => self.look_at_another(index + 1),
                (Outcome::Nothing | Outcome::TooMuch, Stage::Group) => return self.in_vain(),
            }
        }
    }

    fn look_at_another(&mut self, index: usize) {
        let inodes = self.held.iter().map(|(inode, _)| *inode).collect::<Vec<_>>();
        (self.stage, self.search) = match self.families.search_another(index, inodes.clone()) {
            Some(search) => (Stage::Another(index), search),
            None => {
                let mut group = self.families.groups();
                group.retain(|pid| !self.below.contains(pid));
                (Stage::Group, Search::at(group, inodes))
            }
        };
    }

    /// Nobody was found. It may be that who had them has closed them meanwhile.
    fn in_vain(&mut self) -> Seen {
        if let Some(reason) = self.blind.take() {
            return Seen::Blind(reason);
        }
        let is_closed = |socket: &Socket| matches!(far_end::look(socket.as_fd()), Ok(FarEnd::Closed));
        if self.held.iter().all(|(_, socket)| is_closed(socket)) { Seen::Unseen } else { Seen::Stranger }
    }

    /// The connections, each with whether it is the one that the generation was found to have.
    pub(super) fn into_held(self) -> impl Iterator<Item = (bool, Socket)> {
        self.held.into_iter().map(move |(inode, socket)| (self.found == Some(inode), socket))
    }
}

/// The search for anybody but a generation, and us, that could accept from a listener.
#[derive(Debug)]
pub(super) struct Others {
    listener: u64,
    families: Families,
    stage: Suspects,
    search: Search,
}

/// Who may have the listener too.
#[derive(Clone, Copy, Debug)]
enum Suspects {
    /// First who most likely has: the other generation with this index.
    Another(usize),
    /// Nobody is looked at, only who belongs to the generation that is probed.
    Ours,
    /// All that belong neither to it nor to us.
    Everybody,
}

impl Others {
    /// Of the listener with this inode.
    pub(super) fn new(listener: u64, families: Families) -> Others {
        let (stage, search) = next(&families, listener, 0);
        Others { listener, families, stage, search }
    }

    /// Looks on for as long as this is not enough. If nobody else could accept, it was the generation.
    pub(super) fn go_on(&mut self, enough: &mut impl FnMut() -> bool) -> Seen {
        loop {
            match (self.search.go_on(&mut *enough), self.stage) {
                (Outcome::NotYet, _) => return Seen::NotYet,
                (Outcome::Found(_) | Outcome::TooMuch, _) => return Seen::Unseen,
                (Outcome::Nothing, Suspects::Another(index)) => {
                    (self.stage, self.search) = next(&self.families, self.listener, index + 1);
                }
                (Outcome::Nothing, Suspects::Ours) => {
                    let mut family = self.search.pids().to_vec();
                    family.extend(self.families.groups());
                    family.push(Pid::this());
                    let everybody = holder::all().filter(|pid| !family.contains(pid)).collect();
                    self.search = Search::at(everybody, vec![self.listener]).of_all(LOOKED_THROUGH_OF_ALL);
                    self.stage = Suspects::Everybody;
                }
                (Outcome::Nothing, Suspects::Everybody) => return Seen::Ours,
            }
        }
    }
}

/// The look at the other generation with this index, or after the last one at the generation itself.
fn next(families: &Families, listener: u64, index: usize) -> (Suspects, Search) {
    match families.search_another(index, vec![listener]) {
        Some(search) => (Suspects::Another(index), search),
        None => (Suspects::Ours, Search::below(families.ours.clone(), vec![listener]).of_each(0)),
    }
}
