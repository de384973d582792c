//! The original's page in its order, by its own words: start it, open the page, edit a file, break it, mend it, and leave.
//!
//! The server is `readme/manage.py`; its page has LiveReload's element and a WebSocket to the server that it came from.

use std::net::{SocketAddr, TcpStream};

use super::guests;
use super::socket::Socket;
use crate::dev::stage::{Setup, address_in, free_port, get};
use crate::dev::wire::Client;
use crate::harness::browser::Browser;
use crate::harness::pty::Pty;
use crate::harness::{PATIENCE, eventually, until};

guests![
    "PATH=$TOOLS/python/bin:$PATH; command -v chromedriver && command -v chromium && command -v python" =>
    the_procedures_of_the_original_work_in_their_order,
];

const SERVER: &str = include_str!("readme/manage.py");
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The project, the terminal at which the proxy runs, and the page that somebody has open.
struct Day {
    setup: Setup,
    pty: Pty,
    address: SocketAddr,
    page: Option<Browser>,
}

fn the_procedures_of_the_original_work_in_their_order() {
    let mut day = Day::start();
    day.the_first_request_waits_for_loading();
    day.a_page_is_open();
    day.a_change_is_answered_by_the_new_server("2", 2);
    day.what_is_excluded_or_not_named_changes_nothing();
    day.a_server_that_is_dead_is_an_error_page();
    day.the_next_change_recovers(3);
    day.a_change_is_answered_by_the_new_server("4", 4);
    day.control_c_ends_all();
}

/// Of another length for each version: Python takes a source for the one that it has compiled if it has the same length and was
/// saved in the same second.
fn source(version: &str) -> String {
    format!("VERSION = '{version}'\n{}\n", "#".repeat(version.parse().unwrap()))
}

impl Day {
    /// `socket-protector dev localhost:8000 8001 --pattern 'src/**/*' --exclude 'src/**/test_*' --exec python ./manage.py
    /// runserver --noreload 8001`, but for the numbers, and the host, which is one of this trial alone.
    fn start() -> Day {
        let port = free_port().to_string();
        let setup = Setup::new().livereload().backend(&port).env("PATH", &super::path_with_tools());
        // Python keeps what it has made of src/app.py in src/__pycache__, as it does everywhere.
        let setup = setup.env("PYTHONDONTWRITEBYTECODE", "");
        let setup = setup.with(&["--pattern", "src/**/*", "--exclude", "src/**/test_*"]);
        let setup = setup.command(&["python", "./manage.py", "runserver", "--noreload", &port]);
        let host = setup.host();
        std::fs::create_dir(setup.scene().path("site/src")).unwrap();
        setup.scene().write("site/manage.py", &SERVER.replace("LIVERELOAD", &format!("http://{host}:35729")));
        setup.scene().write("site/src/app.py", &source("1"));
        setup.scene().write("site/loads", "");
        let pty = Pty::start(setup.scene(), &setup.line());
        let address = until("the proxy listens", PATIENCE, || {
            let said = pty.screen();
            address_in(&said).ok_or(said)
        });
        Day { setup, pty, address, page: None }
    }

    fn the_first_request_waits_for_loading(&self) {
        let mut client = Client::connect(self.address);
        client.send(GET);
        // One connection behind the other: whoever is refused by the proxy would be answered by now.
        assert_eq!(Socket::open(self.address, "/x", &[("Host", "evil.example")]).err(), Some(403));
        assert!(client.is_silent());
        std::fs::remove_file(self.setup.scene().path("site/loads")).unwrap();
        let head = client.head();
        let body = String::from_utf8(client.body(&head)).unwrap();
        assert!(head.status == 200 && body.contains("<title>1</title>"), "{}{body}", head.text);
    }

    fn a_page_is_open(&mut self) {
        let page = Browser::start(self.setup.scene());
        page.open(&format!("http://{}/", self.address));
        self.page = Some(page);
        self.page_is("1", 1);
    }

    /// The page has this version and would hear of a change, and its socket is one to the server of this version.
    #[track_caller]
    fn page_is(&self, version: &str, loads: u64) {
        let page = self.page.as_ref().unwrap();
        page.until("the page is that version", &format!("return document.title === '{version}'"));
        page.until("the page hears", "return document.documentElement.dataset.socketProtector === 'live'");
        page.until("its socket says so too", &format!("return said.textContent === '{version}'"));
        assert_eq!(page.run("return [socket.readyState, Number(sessionStorage.loads)]"), serde_json::json!([1, loads]));
    }

    fn save(&self, name: &str, text: &str) {
        let new = self.setup.scene().write("new", text);
        std::fs::rename(new, self.setup.scene().path(&format!("site/{name}"))).unwrap();
    }

    fn a_change_is_answered_by_the_new_server(&self, version: &str, loads: u64) {
        let (mut extension, _) = Socket::join(SocketAddr::new(self.address.ip(), 35729), "/livereload");
        self.save("src/app.py", &source(version));
        assert_eq!(extension.hear()["command"], "reload");
        let (status, body) = get(self.address, "/");
        assert!(status == 200 && body.contains(&format!("<title>{version}</title>")), "{status} {body}");
        self.pty.shows("reload: src/app.py changed");
        self.page_is(version, loads);
    }

    fn what_is_excluded_or_not_named_changes_nothing(&self) {
        self.save("src/test_app.py", "no test");
        self.save("notes.txt", "no source");
    }

    fn a_server_that_is_dead_is_an_error_page(&self) {
        self.save("src/app.py", "VERSION = 'no end\n");
        let said = until("the failure is told", PATIENCE, || {
            let said = self.pty.screen();
            if said.contains("the server exited with status 1") { Ok(said) } else { Err(said) }
        });
        // What was saved before has started nothing, nor has what Python keeps of its sources.
        let reasons: Vec<_> = said.lines().filter_map(|line| line.split_once(" reload: ")).collect();
        assert!(reasons.len() == 1 && reasons[0].1 == "src/app.py changed", "{said}");
        self.pty.shows("the server exited with status 1");
        let (status, body) = get(self.address, "/");
        assert!(status == 503 && body.contains("SyntaxError: "), "{status} {body}");
        let page = self.page.as_ref().unwrap();
        page.until("the failure is shown", "return document.title.includes('exited with status 1')");
        assert!(page.text("pre").contains("SyntaxError: "), "{}", page.text("pre"));
        page.until("the page hears", "return document.documentElement.dataset.socketProtector === 'live'");
    }

    fn the_next_change_recovers(&self, loads: u64) {
        self.save("src/app.py", &source("3"));
        // Nobody touches the page.
        self.page_is("3", loads);
        self.pty.shows("reload: src/app.py changed");
    }

    fn control_c_ends_all(mut self) {
        // The browser is no part of it.
        drop(self.page.take());
        self.pty.keys("\x03");
        assert_eq!(self.pty.ends().code(), Some(130));
        eventually("no process is left", || self.setup.scene().processes().is_empty());
        for port in [self.address.port(), 35729, self.setup.port()] {
            assert!(TcpStream::connect((self.address.ip(), port)).is_err(), "{port}");
        }
    }
}
