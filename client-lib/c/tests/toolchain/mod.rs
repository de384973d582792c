//! The C library of this build, and programs compiled against it.
//!
//! A machine without a C compiler can build and test the rest, and is told what was left out. In CI it is a failure.
#![allow(dead_code, reason = "every test file uses its part of it")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// Every warning that the compilers share is an error.
pub(crate) const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];

/// A standard to compile by, and with it the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    C11,
    C17,
    Cpp98,
    Cpp17,
}

impl Standard {
    pub(crate) fn option(self) -> &'static str {
        match self {
            Standard::C11 => "-std=c11",
            Standard::C17 => "-std=c17",
            Standard::Cpp98 => "-std=c++98",
            Standard::Cpp17 => "-std=c++17",
        }
    }

    pub(crate) fn compiler(self) -> &'static str {
        match self {
            Standard::C11 | Standard::C17 => "cc",
            Standard::Cpp98 | Standard::Cpp17 => "c++",
        }
    }
}

/// `client-lib`, where the header and the examples are.
pub(crate) fn client_lib() -> PathBuf {
    // For the root package it is a folder below, for the C library's own the folder above.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = here.join("client-lib");
    if below.is_dir() { below } else { here.parent().unwrap().to_owned() }
}

/// The folder with `libsocket_protector.so` and `.a`, built from the present sources.
pub(crate) fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // This program is TARGET/debug/deps/NAME, or in another folder for another profile. The library is always
        // built for debugging: the profile `release` has no unwinding, and `c-library` takes long.
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "socket-protector-c", "--target-dir"]).arg(target);
        let built = build.current_dir(client_lib()).output().unwrap();
        assert!(built.status.success(), "cannot build the C library: {}", String::from_utf8_lossy(&built.stderr));
        // The name that the original's programs link by.
        let folder = target.join("debug");
        for extension in ["so", "a"] {
            let link = folder.join(format!("libSocketProtector.{extension}"));
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(format!("libsocket_protector.{extension}"), link).unwrap();
        }
        folder
    })
}

/// Whether there is a compiler; if not it says so.
pub(crate) fn compiles(standard: Standard) -> bool {
    let compiler = standard.compiler();
    if Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    let missing = format!("NOT TESTED: there is no {compiler}, so nothing was compiled with {}", standard.option());
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    // What is printed by macros is shown for tests that fail alone.
    let _ = writeln!(std::io::stderr(), "\n*** {missing} ***\n");
    false
}

/// Compiles without linking; `None` without a compiler.
pub(crate) fn check(source: &Path, standard: Standard) -> Option<()> {
    compile(source, standard, &["-c"], &place(source, standard, "o"))
}

/// Compiles and links with these options; `None` without a compiler. The library is found wherever the program runs.
pub(crate) fn program(source: &Path, standard: Standard, link: &[&str]) -> Option<PathBuf> {
    let program = place(source, standard, &link.concat().replace(['-', ':'], ""));
    let folder = library();
    let search = format!("-L{}", folder.display());
    let run = format!("-Wl,-rpath,{}", folder.join("lib").display());
    // By its soname, as an installed program does.
    let soname = folder.join("lib/libsocket_protector.so.0");
    if !soname.exists() {
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        let _ = std::os::unix::fs::symlink("../libsocket_protector.so", soname);
    }
    let options: Vec<&str> = [&[search.as_str(), run.as_str()], link].concat();
    compile(source, standard, &options, &program).map(|()| program)
}

/// A file for each test program, source and way of compiling.
fn place(source: &Path, standard: Standard, kind: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(own.file_name().unwrap());
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{}.{standard:?}.{kind}", source.file_stem().unwrap().to_str().unwrap()))
}

/// Once for each output, of which several tests may be in want.
fn compile(source: &Path, standard: Standard, options: &[&str], output: &Path) -> Option<()> {
    static COMPILED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut compiled = COMPILED.lock().unwrap();
    if compiled.contains(output) {
        return Some(());
    }
    if !compiles(standard) {
        return None;
    }
    let mut command = Command::new(standard.compiler());
    command.arg(standard.option()).args(STRICT).arg("-I").arg(client_lib().join("include"));
    command.arg(source).arg("-o").arg(output).args(options).arg("-pthread");
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&ran.stderr));
    compiled.insert(output.to_owned());
    Some(())
}
