//! Gives the shared library its soname, and warns when it could abort a daemon.

/// Changes when a program linked with an earlier library would not run with this one.
const SONAME: &str = "libsocket_protector.so.0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |variable, value| std::env::var(variable).is_ok_and(|found| found == value);
    // Apple's linker knows no sonames.
    if !is("CARGO_CFG_TARGET_VENDOR", "apple") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,{SONAME}");
    }
    if is("CARGO_CFG_PANIC", "abort") {
        println!(
            "cargo:warning=to install the C library build it with --profile c-library, as make does: in this one \
                  a defect ends the daemon"
        );
    }
}
