//! Files that nobody edits: those that editors keep for themselves while they write another, the insides of version
//! control, and what Python makes of its sources each time it has read them anew. Pure.

/// Directories that are never looked into.
const DIRECTORIES: [&str; 6] = [".git", ".hg", ".svn", ".jj", ".bzr", "__pycache__"];

/// Whether a directory of this name is never looked into.
pub fn is_private(name: &str) -> bool {
    DIRECTORIES.contains(&name)
}

/// Whether a file of this name is an editor's own: swap and backup files, locks, and what is renamed over the real file.
pub fn is_of_editor(name: &str) -> bool {
    let vim = name == "4913" || has_swap_ending(name);
    let emacs = (name.starts_with('#') && name.ends_with('#') && name.len() > 1) || name.starts_with(".#");
    let jetbrains = name.ends_with("___jb_tmp___") || name.ends_with("___jb_old___");
    let gnome = name.starts_with(".goutputstream-");
    let kate = name.starts_with('.') && name.ends_with(".kate-swp");
    let undo = name.starts_with('.') && name.ends_with(".un~");
    let nano = name.starts_with('.') && name.ends_with(".save");
    name.ends_with('~') || vim || emacs || jetbrains || gnome || kate || undo || nano || name == ".DS_Store"
}

/// `.name.swp`, and `.swo` down to `.saa` where that is taken; see vim's `:help swap-file`.
fn has_swap_ending(name: &str) -> bool {
    let Some((_, ending)) = name.rsplit_once('.') else { return false };
    let letters = ending.as_bytes();
    name.starts_with('.')
        && letters.len() == 3
        && letters[0] == b's'
        && matches!(letters[1], b'v' | b'w')
        && letters[2].is_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{is_of_editor, is_private};

    #[test]
    fn files_of_editors_are_known_by_their_names() {
        for name in [
            "app.py~",
            ".app.py.swp",
            ".app.py.swo",
            ".swp",
            ".app.py.swx",
            ".app.py.svz",
            "4913",
            "#app.py#",
            ".#app.py",
            "app.py___jb_tmp___",
            ".goutputstream-ABC123",
            ".app.py.kate-swp",
            ".app.py.un~",
            ".DS_Store",
        ] {
            assert!(is_of_editor(name), "{name}");
        }
        for name in [
            "app.py",
            "4914",
            "#",
            "swap.swp.py",
            "library.swf",
            "a.swp",
            "app.save",
            ".env",
            "goutputstream",
            "~x",
            ".",
        ] {
            assert!(!is_of_editor(name), "{name}");
        }
        assert!(is_private(".git") && is_private("__pycache__") && !is_private(".github") && !is_private("git"));
    }
}
