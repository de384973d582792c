//! Gives the shared library its soname, and warns when it could abort a daemon.

/// Changes when a program linked with an earlier library would not run with this one.
const SONAME: &str = "libsocket_protector.so.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    if std::env::var("CARGO_CFG_PANIC").is_ok_and(|strategy| strategy == "abort") {
        println!(
            "cargo:warning=to install the C library build it with --profile c-library, as make does: in this one \
                  a defect ends the daemon"
        );
    }
}
