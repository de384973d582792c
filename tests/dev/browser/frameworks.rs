//! Servers that others have written, started anew under load: no request fails, and the last version is what answers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{TOOLS, guests, path_with_tools, write};
use crate::dev::stage::{Proxy, Setup};
use crate::harness::{PATIENCE, until};

guests![
    "\"$TOOLS/python/bin/python\" -c 'import django' && command -v curl" => django_is_edited_under_load,
    "\"$TOOLS/python/bin/python\" -c 'import flask' && command -v curl" => flask_is_edited_under_load,
    "command -v node && command -v curl && test -d \"$TOOLS/node/node_modules/express\"" => express_is_edited_under_load,
    "command -v curl" => axum_is_edited_under_load,
];

/// How many clients ask all the time.
const CLIENTS: usize = 3;
/// A Python program starts slowly, and a machine may be busy.
const SLOW: std::time::Duration = PATIENCE.saturating_mul(3);

const DJANGO: &str = "\
import os, sys
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(DEBUG=True, SECRET_KEY='x', ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'])
urlpatterns = [path('', lambda request: HttpResponse('<title>VERSION</title>'))]

if __name__ == '__main__':
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
";

const FLASK: &str = "\
from flask import Flask

app = Flask(__name__)

@app.route('/')
def page():
    return '<title>VERSION</title>'
";

const EXPRESS: &str = "\
const express = require('express');
const app = express();
app.get('/', (request, response) => response.send('<title>VERSION</title>'));
app.listen(process.env.PORT, '127.0.0.1');
";

fn django_is_edited_under_load() {
    // The original's own example: a port that stays, so that one server ends before the next one starts.
    let setup = Setup::new().fixed();
    let port = setup.port().to_string();
    edited(setup.command(&["python", "./manage.py", "runserver", "--noreload", &port]), "manage.py", DJANGO);
}

fn flask_is_edited_under_load() {
    let words = ["python", "-m", "flask", "--app", "app.py", "run", "--no-reload", "--port", "{port}"];
    edited(Setup::new().with(&["--overlap"]).command(&words), "app.py", FLASK);
}

fn express_is_edited_under_load() {
    edited(Setup::new().command(&["node", "app.js"]), "app.js", EXPRESS);
}

fn axum_is_edited_under_load() {
    let server = axum_server().to_str().unwrap().to_owned();
    let setup = Setup::new().with(&["--build", "cp page.txt ../page.html"]).command(&[&server, "../page.html"]);
    edited(setup, "page.txt", "<title>VERSION</title>");
}

/// The example, built from the present sources.
fn axum_server() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // This program is TARGET/debug/deps/NAME, or in another folder for another profile.
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "axum_page", "--target-dir"]).arg(target);
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(built.status.success(), "cannot build the example: {}", String::from_utf8_lossy(&built.stderr));
        target.join("debug/examples/axum_page")
    })
}

/// Edits `file`, whose text names its VERSION, while clients ask.
fn edited(setup: Setup, file: &str, text: &str) {
    let save = |version: &str| text.replace("VERSION", version);
    setup.scene().write(&format!("site/{file}"), &save("1"));
    let setup = setup.with(&["--inject"]).env("PATH", &path_with_tools()).env("PYTHONDONTWRITEBYTECODE", "1");
    let proxy = setup.env("NODE_PATH", &format!("{TOOLS}/node/node_modules")).start();
    answers(&proxy, "1");
    under_load(&proxy, |load| {
        for version in ["2", "3", "4"] {
            write(&proxy, file, &save(version));
            answers(&proxy, version);
            load.goes_on();
        }
    });
    assert_eq!(proxy.reloads(), 3, "{}", proxy.said());
}

/// Clients that ask all the time.
pub(super) struct Load<'a> {
    asked: &'a AtomicUsize,
}

impl Load<'_> {
    /// Waits until each of them has been answered from its first question to its last since now.
    #[track_caller]
    pub(super) fn goes_on(&self) {
        let before = self.asked.load(Ordering::Relaxed);
        until("the load goes on", SLOW, || match self.asked.load(Ordering::Relaxed) {
            now if now > before + 2 * CLIENTS => Ok(()),
            now => Err(format!("{now} requests, {before} before")),
        });
    }
}

/// Does this while clients ask, none of which may fail.
#[track_caller]
pub(super) fn under_load(proxy: &Proxy, action: impl FnOnce(&Load<'_>)) {
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask(proxy, &over, &asked))).collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| action(&Load { asked: &asked })));
        over.store(true, Ordering::Relaxed);
        let failures: Vec<String> = load.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert_eq!(failures, Vec::<String>::new(), "of {} requests; {}", asked.load(Ordering::Relaxed), proxy.said());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Waits until this version answers.
#[track_caller]
pub(super) fn answers(proxy: &Proxy, version: &str) {
    until("the version answers", SLOW, || match proxy.get("/") {
        (200, body) if body.contains(&format!("<title>{version}</title>")) => Ok(()),
        other => Err(format!("{other:?}; {}", proxy.said())),
    });
}

/// Asks by curl until it is over; what has failed.
fn ask(proxy: &Proxy, over: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let mut failures = Vec::new();
    while !over.load(Ordering::Relaxed) {
        // Several on one connection, and each with a word about its end.
        let url = format!("http://{}/?[1-5]", proxy.address);
        let curl = Command::new("curl").args(["--silent", "--show-error", "--fail", "--max-time", "60", &url]).output();
        let curl = curl.unwrap();
        let pages = String::from_utf8_lossy(&curl.stdout).matches("</title>").count();
        if !curl.status.success() || pages != 5 {
            failures.push(format!("{pages} pages, {}", String::from_utf8_lossy(&curl.stderr)));
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    failures
}
