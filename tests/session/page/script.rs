//! The page's scripts without a page: node runs what is in `script/`.

use std::path::Path;
use std::process::Command;

use super::guests;
use crate::harness::PATIENCE;
use crate::harness::ran::Running;

guests!["node --version"; the_scripts_keep_to_the_protocol];

fn the_scripts_keep_to_the_protocol() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/session/page/script");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    // TAP is the same in every version of node.
    let mut node = Command::new("node");
    let ran = Running::start(node.args(["--test", "--test-reporter=tap"]).args(&files)).finish(PATIENCE * 3);
    assert!(ran.out.contains("# fail 0") && !ran.out.contains("# pass 0"), "{}{}", ran.out, ran.err);
    ran.expect(0);
}
