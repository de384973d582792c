//! What browsers are told and shown: by clients that are a few lines, in a real browser, and with the servers of others.

mod cargo;
mod channel;
mod chromium;
mod frameworks;
mod inject;
mod readme;
mod refused;
pub(in crate::dev) mod socket;

use libtest_mimic::Trial;

use super::stage::{Proxy, Setup};
use crate::harness::guest::{TOOLS, guests, path_with_tools};
use crate::harness::scene::suite;

/// Every trial with browsers.
pub(super) fn trials() -> Vec<Trial> {
    let alone = [channel::trials(), inject::trials(), refused::trials()];
    let guests = [cargo::GUESTS, chromium::GUESTS, frameworks::GUESTS, readme::GUESTS].concat();
    alone.into_iter().flatten().chain(guests.into_iter().map(|guest| guest.trial("dev::browser"))).collect()
}

/// A page that counts how often it was loaded in its tab.
const PAGE: &str = "<!DOCTYPE html><html><head><title>@version@</title><link rel=stylesheet href=/style.css></head>\
    <body><p id=word>word</p><script>sessionStorage.loads = Number(sessionStorage.loads || 0) + 1</script></body></html>";
/// It may be kept, and is the same for all who have kept it.
const KEPT: &str = "Cache-Control: max-age=600\nETag: \"always\"\n";

/// A proxy to be with a site for browsers, whose version is 1.
fn site() -> Setup {
    let setup = Setup::new().command(&[&suite(), "child", "pages", "127.0.0.1:{port}"]);
    for (name, text) in [
        ("index.html", PAGE),
        ("index.html.head", KEPT),
        ("style.css", "p { color: rgb(1, 1, 1) }"),
        ("style.css.head", KEPT),
        ("version", "1"),
    ] {
        setup.scene().write(&format!("site/{name}"), text);
    }
    setup
}

/// Writes a file of the site, and in one step.
fn write(proxy: &Proxy, name: &str, text: &str) {
    let new = proxy.scene.write("new", text);
    std::fs::rename(new, proxy.site(name)).unwrap();
}
