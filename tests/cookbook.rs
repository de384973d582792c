//! The page docs/cookbook.md: what it says is written into a scene, run, and reloaded under load.

mod recipe;
mod visitors;

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::guest::{path_with_tools, trial_with};
use crate::harness::{PATIENCE, Scene, Supervisor, until};
use recipe::Recipe;
use visitors::{Speech, Visitors};

/// A section of the page and how it is tried.
#[derive(Clone, Copy)]
struct Dish {
    section: &'static str,
    /// A shell command that succeeds where its programs are installed.
    has: &'static str,
    speech: Speech,
    reloads: u64,
}

const DISHES: [Dish; 9] = [
    Dish {
        section: "gunicorn",
        has: "PATH=$TOOLS/python/bin:$PATH; command -v gunicorn",
        speech: Speech::Http,
        reloads: 20,
    },
    Dish {
        section: "uvicorn",
        has: "PATH=$TOOLS/python/bin:$PATH; python3 -c 'import uvicorn'",
        speech: Speech::Http,
        reloads: 20,
    },
    Dish { section: "node", has: "command -v node", speech: Speech::Http, reloads: 20 },
    Dish { section: "Go", has: "command -v go", speech: Speech::Http, reloads: 5 },
    Dish {
        section: "Starlet",
        has: "command -v plackup && perl -MPlack::Handler::Starlet -e 1",
        speech: Speech::Http,
        reloads: 20,
    },
    Dish { section: "puma", has: "command -v puma", speech: Speech::Http, reloads: 5 },
    Dish { section: "php-fpm", has: "command -v php-fpm8.2", speech: Speech::FastCgi, reloads: 5 },
    // Its directories, compiled in, are root's.
    Dish { section: "nginx", has: "command -v nginx && test $(id -u) = 0", speech: Speech::Http, reloads: 5 },
    Dish { section: "A shell script", has: "command -v perl", speech: Speech::Line, reloads: 5 },
];

/// Sections that no package can be installed for, or that have a page and trials of their own.
const NOT_TRIED: [&str; 1] = ["Axum"];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![Trial::test("cookbook::every_section_is_tried", || {
        every_section_is_tried();
        Ok(())
    })];
    trials.extend(DISHES.map(|dish| {
        let name = format!("cookbook::{}_loses_nothing", dish.section.replace([' ', '-'], "_").to_lowercase());
        trial_with(name, dish.has, move || dish.try_it())
    }));
    trials
}

impl Dish {
    fn try_it(self) {
        let scene = Scene::new();
        // Some servers work as another user than the one who starts them.
        scene.open_to_all();
        let recipe = Recipe::of(self.section);
        recipe.prepare(&scene, &path_with_tools());
        let setup = recipe.setup(&scene).cwd(scene.path(".")).env("PATH", &path_with_tools());
        self.reload_under_load(&setup.env("PYTHONDONTWRITEBYTECODE", "1").start());
    }

    fn reload_under_load(self, supervisor: &Supervisor) {
        let address = supervisor.address();
        // One reload first: what is made once and kept counts as the beginning.
        supervisor.reload().expect(0);
        supervisor.wait_settled();
        let before = supervisor.census();
        let visitors = Visitors::of(address, self.speech, &supervisor.scene.path("app.php"));
        for _ in 0..self.reloads {
            let known = visitors.met();
            supervisor.reload().expect(0);
            // Slow ones are switched to before they accept; the next reload shall not be faster.
            until("somebody new answers", PATIENCE, || {
                let met = visitors.met();
                if met.is_subset(&known) { Err(format!("{met:?}")) } else { Ok(()) }
            });
        }
        let report = visitors.finish();
        assert!(report.failures.is_empty(), "clients noticed: {report:#?}");
        assert!(report.answered > self.reloads, "the load did nothing: {report:#?}");
        supervisor.wait_settled();
        until("descriptors and processes are as they were", PATIENCE, || {
            let now = supervisor.census();
            if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
        });
        let counters = supervisor.status()["counters"].clone();
        assert_eq!(counters["reloads"], self.reloads + 1, "{counters}");
        assert_eq!(counters["reloads_failed"], 0, "{counters}");
        assert_eq!(counters["respawns"], 0, "{counters}");
        supervisor.scene.begin(&["stop", supervisor.name()]).finish(Duration::from_secs(30)).expect(0);
    }
}

fn every_section_is_tried() {
    let tried = DISHES.iter().map(|dish| dish.section).chain(NOT_TRIED);
    let mut tried: Vec<_> = tried.collect();
    let mut sections = recipe::sections();
    tried.sort_unstable();
    sections.sort();
    assert_eq!(sections, tried);
}
