//! A section of the page, taken at its word.

use std::process::Command;
use std::sync::Arc;

use crate::harness::free_port;
use crate::harness::ran::Running;
use crate::harness::{PATIENCE, Scene, Setup};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cookbook.md");

/// The port of every recipe.
const PORT: &str = "8000";

/// What a section says to write and to run.
pub(super) struct Recipe {
    /// Names and contents.
    files: Vec<(String, String)>,
    /// What to run first, such as a compiler.
    first: Vec<String>,
    options: Vec<String>,
    listen: String,
    command: Vec<String>,
}

/// The page, in sections: each title with its lines.
fn page() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(PAGE).unwrap_or_else(|error| panic!("cannot read {PAGE}: {error}"));
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("## "), sections.last_mut()) {
            (Some(title), _) => sections.push((title.to_owned(), Vec::new())),
            (None, Some((_, lines))) => lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    sections
}

/// The titles.
pub(super) fn sections() -> Vec<String> {
    page().into_iter().map(|(title, _)| title).collect()
}

impl Recipe {
    /// Reads a section. A line with nothing but a file's name, in backquotes and with a colon, names the block that
    /// follows it; the other block of shell commands is what to run.
    pub(super) fn of(section: &str) -> Recipe {
        let page = page();
        let lines = page.iter().find(|(title, _)| title == section).map(|(_, lines)| lines);
        let mut lines = lines.unwrap_or_else(|| panic!("no section {section:?}")).iter();
        let mut files = Vec::new();
        let mut commands = Vec::new();
        let mut file = None;
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:")) {
                file = Some(name.to_owned());
            } else if let Some(language) = line.strip_prefix("```") {
                let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").cloned().collect();
                match file.take() {
                    Some(name) => files.push((name, block.join("\n") + "\n")),
                    None if language == "sh" => commands = block,
                    None => panic!("a block of {language:?} without a file name in {section}"),
                }
            }
        }
        Recipe::from_parts(files, commands).unwrap_or_else(|| panic!("no command in {section}"))
    }

    fn from_parts(mut files: Vec<(String, String)>, mut commands: Vec<String>) -> Option<Recipe> {
        let mut last = commands.pop()?;
        // Where the port is in other places than LISTEN, it must be a certain one; else the kernel chooses.
        let certain = files.iter().any(|(_, text)| text.contains(PORT)) || last.matches(PORT).count() > 1;
        let port = if certain { free_port().to_string() } else { "0".to_owned() };
        last = last.replace(PORT, &port);
        files.iter_mut().for_each(|(_, text)| *text = text.replace(PORT, &port));
        let words = last.strip_prefix("socket-protector -f ")?.split(' ').map(str::to_owned);
        let mut options: Vec<_> = words.collect();
        let split = options.iter().position(|word| word == "--")?;
        let command = options.split_off(split).split_off(1);
        let listen = options.pop()?;
        Some(Recipe { files, first: commands, options, listen, command })
    }

    /// Writes the files and runs what comes before the server.
    pub(super) fn prepare(&self, scene: &Scene, path: &str) {
        for (name, text) in &self.files {
            scene.write(name, text);
        }
        for line in &self.first {
            let mut command = Command::new("sh");
            command.args(["-c", line]).current_dir(scene.path(".")).env("PATH", path);
            command.env("GOCACHE", scene.path("cache"));
            Running::start(&mut command).finish(PATIENCE * 3).expect(0);
        }
    }

    /// The supervisor as the section has it.
    pub(super) fn setup(&self, scene: &Arc<Scene>) -> Setup {
        scene.setup().with(&self.options.join(" ")).listen(&[self.listen.as_str()]).command(&self.command)
    }
}
