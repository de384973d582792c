//! The headers by themselves, and what the library exports.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod toolchain;

use socket_protector_client::wire;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use toolchain::{STRICT, Standard, check, client_lib, compiles, library, program};

const ALL: [Standard; 4] = [Standard::C11, Standard::C17, Standard::Cpp98, Standard::Cpp17];

fn headers() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/headers.c")
}

/// The bounds are macros, for arrays, and those of the channel.
#[test]
fn its_bounds_are_those_of_the_channel() {
    let header = std::fs::read_to_string(client_lib().join("include/socket_protector.h")).unwrap();
    assert!(header.contains(&format!("#define SOCKET_PROTECTOR_MAX_STATE {}\n", wire::MAX_STATE)));
    assert!(header.contains(&format!("beyond {} bytes", wire::MAX_STATUS)));
}

/// What the header declares, without the type's own name.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(client_lib().join("include/socket_protector.h")).unwrap();
    let lines = header.lines().filter(|line| !line.starts_with([' ', '/', '#', '*']));
    let name = |line: &str| {
        let start = line.find("socket_protector_")?;
        Some(line[start..].split('(').next()?.to_owned())
    };
    lines.filter_map(name).collect()
}

#[test]
fn they_are_valid_in_every_standard() {
    for standard in ALL {
        if !compiles(standard) {
            continue;
        }
        for header in ["socket_protector.h", "SocketProtector.h"] {
            let language = if standard.compiler() == "cc" { "c" } else { "c++" };
            let mut command = Command::new(standard.compiler());
            command.args([standard.option(), "-fsyntax-only", "-x", language]).args(STRICT);
            let ran = command.arg(client_lib().join("include").join(header)).output().unwrap();
            assert!(ran.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&ran.stderr));
        }
    }
    for standard in ALL {
        check(&headers(), standard);
    }
}

#[test]
fn every_function_has_its_type_and_is_found_by_either_name() {
    for library in ["-lsocket_protector", "-lSocketProtector", "-l:libsocket_protector.a"] {
        let Some(program) = program(&headers(), Standard::C11, &[library]) else {
            return;
        };
        assert!(Command::new(program).status().unwrap().success(), "{library}");
    }
}

#[test]
fn it_exports_what_the_header_declares_and_nothing_else() {
    assert_eq!(declared().len(), 34);
    let Ok(listed) =
        Command::new("nm").args(["-D", "--defined-only"]).arg(library().join("libsocket_protector.so")).output()
    else {
        return;
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let exported: BTreeSet<String> = listed.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(exported, declared());
}

#[test]
fn its_version_is_that_of_the_package() {
    let header = std::fs::read_to_string(client_lib().join("include/socket_protector.h")).unwrap();
    assert!(header.contains(&format!("#define SOCKET_PROTECTOR_VERSION \"{}\"", env!("CARGO_PKG_VERSION"))));
}
