//! docs/forward.md prints the tables; this walks every cell and compares. Two processes that speak to each other are
//! walked through every way in which they can fail.

use super::{New, NewDoes, NewHears, Old, OldDoes, OldHears};
use std::collections::HashSet;
use std::fmt::Debug;

const PAGE: &str = include_str!("../../../docs/forward.md");

const OLD: [Old; 6] = [Old::Serving, Old::Starting, Old::Offering, Old::Committing, Old::Ending, Old::Leaving];
const OLD_HEARS: [OldHears; 8] = [
    OldHears::Asked,
    OldHears::Ready,
    OldHears::Registered,
    OldHears::Taken,
    OldHears::Failed,
    OldHears::Gone,
    OldHears::Nonsense,
    OldHears::Late,
];
const NEW: [New; 5] = [New::Rehearsing, New::Waiting, New::Registered, New::Serving, New::Ended];
const NEW_HEARS: [NewHears; 5] = [NewHears::Plan, NewHears::Offer, NewHears::Commit, NewHears::Unable, NewHears::Lost];

/// `AnswerFailed` as `answer failed`.
fn words(name: impl Debug) -> String {
    let mut text = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn cell<S: Debug + PartialEq, A: Debug>(before: &S, after: &S, acts: &[A]) -> String {
    let acts = acts.iter().map(words).collect::<Vec<_>>().join(", ");
    match (before == after, acts.is_empty()) {
        (true, true) => "–".into(),
        (true, false) => acts,
        (false, true) => format!("**{}**", words(after)),
        (false, false) => format!("**{}**: {acts}", words(after)),
    }
}

fn table<S: Debug, H: Debug>(stages: &[S], hears: &[H], cell: impl Fn(usize, usize) -> String) -> String {
    let head = stages.iter().map(words).collect::<Vec<_>>().join(" | ");
    let mut text = format!("| | {head} |\n|{}\n", " --- |".repeat(stages.len() + 1));
    for (row, heard) in hears.iter().enumerate() {
        let cells = (0..stages.len()).map(|column| cell(column, row)).collect::<Vec<_>>().join(" | ");
        text.push_str(&format!("| {} | {cells} |\n", words(heard)));
    }
    text
}

#[test]
fn the_printed_tables_are_what_the_processes_do() {
    let old = table(&OLD, &OLD_HEARS, |column, row| {
        let mut stage = OLD[column];
        let acts = stage.on(OLD_HEARS[row]);
        cell(&OLD[column], &stage, acts)
    });
    let new = table(&NEW, &NEW_HEARS, |column, row| {
        let mut stage = NEW[column];
        let acts = stage.on(NEW_HEARS[row]);
        cell(&NEW[column], &stage, acts)
    });
    assert!(PAGE.contains(&old) && PAGE.contains(&new), "docs/forward.md does not print these:\n\n{old}\n{new}");
}

/// Both processes and what is on its way between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct World {
    old: u8,
    new: u8,
    to_old: Vec<u8>,
    to_new: Vec<u8>,
    old_lives: bool,
    new_lives: bool,
    /// Who moves bytes of the connections.
    old_serves: bool,
    new_serves: bool,
}

const SAID: [OldHears; 4] = [OldHears::Ready, OldHears::Registered, OldHears::Taken, OldHears::Failed];

impl World {
    fn begin() -> World {
        let mut world = World { old_lives: true, new_lives: true, old_serves: true, ..World::default() };
        world.old_hears(OldHears::Asked);
        world
    }

    fn old_hears(&mut self, heard: OldHears) {
        let mut stage = OLD[self.old as usize];
        let acts = stage.on(heard);
        self.old = u8::try_from(OLD.iter().position(|other| *other == stage).unwrap()).unwrap();
        for act in acts {
            match act {
                OldDoes::Start => self.to_new.push(0),
                OldDoes::Offer => {
                    self.old_serves = false;
                    self.to_new.push(1);
                }
                OldDoes::Commit => self.to_new.push(2),
                OldDoes::End => self.new_dies(),
                OldDoes::PutBack => self.old_serves = true,
                OldDoes::Reopen | OldDoes::AnswerFailed | OldDoes::Refuse | OldDoes::Leave => {}
            }
        }
    }

    fn new_hears(&mut self, heard: NewHears) {
        let mut stage = NEW[self.new as usize];
        let acts = stage.on(heard);
        self.new = u8::try_from(NEW.iter().position(|other| *other == stage).unwrap()).unwrap();
        for act in acts {
            match act {
                NewDoes::SayReady => self.to_old.push(0),
                NewDoes::SayRegistered => self.to_old.push(1),
                NewDoes::SayTaken => self.to_old.push(2),
                NewDoes::SayFailed => self.to_old.push(3),
                NewDoes::Serve => self.new_serves = true,
                NewDoes::Exit => self.new_dies(),
            }
        }
    }

    fn new_dies(&mut self) {
        (self.new_lives, self.new_serves) = (false, false);
        self.to_new.clear();
    }

    /// All that can happen next.
    fn next(&self) -> Vec<World> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            all.push(world);
        };
        if self.new_lives {
            add(&World::new_dies);
            add(&|world| world.new_hears(NewHears::Unable));
            if !self.to_new.is_empty() {
                add(&|world| {
                    let heard = NEW_HEARS[world.to_new.remove(0) as usize];
                    world.new_hears(heard);
                });
            } else if !self.old_lives {
                add(&|world| world.new_hears(NewHears::Lost));
            }
        }
        if self.old_lives {
            add(&|world| (world.old_lives, world.old_serves) = (false, false));
            let over = matches!(OLD[self.old as usize], Old::Serving | Old::Leaving);
            if !self.to_old.is_empty() {
                add(&|world| {
                    let heard = SAID[world.to_old.remove(0) as usize];
                    world.old_hears(heard);
                });
            } else if !self.new_lives && !over {
                add(&|world| world.old_hears(OldHears::Gone));
            }
            // What it has said may be there and not heard when the time is over.
            if !over && OLD[self.old as usize] != Old::Ending {
                add(&|world| world.old_hears(OldHears::Late));
            }
        }
        all
    }
}

#[test]
fn no_failure_leaves_two_servers_or_none() {
    let (mut seen, mut left) = (HashSet::new(), vec![World::begin()]);
    let mut ends = [0; 4];
    while let Some(world) = left.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        assert!(!(world.old_serves && world.new_serves), "two serve: {world:?}");
        let next = world.next();
        let failures = |world: &World| !world.old_lives || !world.new_lives;
        let quiet = world.to_old.is_empty() && world.to_new.is_empty();
        let settled = matches!(OLD[world.old as usize], Old::Serving | Old::Leaving) && quiet;
        if settled && world.old_lives && OLD[world.old as usize] == Old::Serving {
            // It went on, with its connections unless the new process had begun.
            assert!(!world.new_lives, "a stranger is left: {world:?}");
            ends[usize::from(!world.old_serves)] += 1;
        }
        if settled && world.new_lives && OLD[world.old as usize] == Old::Leaving {
            assert!(world.new_serves, "nobody serves: {world:?}");
            ends[2 + usize::from(failures(&world))] += 1;
        }
        left.extend(next);
    }
    assert!(ends.iter().all(|count| *count > 0), "each end was met: {ends:?}");
}
