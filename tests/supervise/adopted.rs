//! Listeners that we were started with.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::client::ask;
use crate::harness::process::{Exit, descriptors_of};
use crate::harness::unix::{ask_unix, unix};
use crate::harness::{Scene, Setup, trials};

trials![
    inherited_sockets_are_adopted,
    inherited_sockets_serve_by_connections,
    a_socket_as_standard_input_is_adopted,
    an_adopted_socket_file_stays,
    what_cannot_be_adopted_is_told,
];

fn inherited_sockets_are_adopted() {
    for daemon in [false, true] {
        let scene = Scene::new();
        let file = scene.path("probe.json");
        let setup = scene.setup().role(&format!("probe {}", file.display())).name(Some("t"));
        let sockets = format!("tcp4 3 tcp6 4 unix 5:{} tcp4 9", scene.path("s").display());
        let setup = setup.wrap(&sockets).wrap("passed 3:web:web:local");
        let setup = setup.listen(&[
            "systemd:domain=INET6:name=web",
            "mine=systemd:domain=INET:index=0",
            "systemd:domain=UNIX:name=local",
            "fd:9",
            "127.0.0.1:0",
        ]);
        let supervisor = if daemon { setup.daemon() } else { setup }.start();
        let status = supervisor.status();
        let listeners = status["listeners"].as_array().unwrap();
        assert_eq!(listeners[0]["endpoint"], "systemd:domain=INET6:name=web");
        assert!(listeners[0]["address"].as_str().unwrap().starts_with("[::1]:"), "{status}");
        assert_eq!(listeners[3]["endpoint"], "fd:9");
        let port = listeners[3]["address"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        let names: Vec<_> = listeners.iter().map(|listener| listener["name"].as_str().unwrap()).collect();
        assert_eq!(names[..4], ["web", "mine", "local", &port]);
        for index in [0, 1, 3, 4] {
            ask(listeners[index]["address"].as_str().unwrap().parse().unwrap());
        }
        assert_eq!(listeners[2]["address"], unix(&scene, "s"));
        ask_unix(&unix(&scene, "s"));
        let probe: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(probe["environment"]["LISTEN_FDS"], "5");
        assert_eq!(probe["environment"]["LISTEN_PID"], probe["pid"].to_string());
        assert_eq!(probe["environment"]["LISTEN_FDNAMES"], names.join(":"));
        // Five listeners, the channel, and nothing else of what was inherited.
        let sockets =
            probe["descriptors"].as_object().unwrap().keys().filter(|number| number.parse::<u32>().unwrap() > 2);
        assert_eq!(sockets.count(), 6, "{probe}");
        supervisor.reload().expect(0);
        ask_unix(&unix(&scene, "s"));
    }
}

fn inherited_sockets_serve_by_connections() {
    let supervisor = Setup::alone().connections().wrap("tcp4 3 passed 1").listen(&["systemd:INET:0"]).start();
    ask(supervisor.address());
    supervisor.reload().expect(0);
    ask(supervisor.address());
    assert_eq!(supervisor.status()["listeners"][0]["accepted"], 2);
}

/// Standard input itself is the null device then, so that the socket closes when it shall.
fn a_socket_as_standard_input_is_adopted() {
    for daemon in [false, true] {
        let setup = Setup::alone().connections().wrap("tcp4 0").listen(&["fd:0"]);
        let supervisor = if daemon { setup.daemon() } else { setup }.start();
        ask(supervisor.address());
        assert_eq!(descriptors_of(supervisor.pid())[&0], "/dev/null");
    }
}

/// It is whoever made it that knows when it shall go.
fn an_adopted_socket_file_stays() {
    let scene = Scene::new();
    let setup = scene.setup().wrap(&format!("unix 7:{}", scene.path("s").display())).listen(&["fd:7"]);
    let mut supervisor = setup.start();
    ask_unix(&unix(&scene, "s"));
    supervisor.signal(Signal::SIGTERM);
    assert_eq!(supervisor.wait_exit(), Exit::Code(0));
    assert!(scene.path("s").exists());
}

fn what_cannot_be_adopted_is_told() {
    for (surroundings, endpoints, words) in [
        ("", "fd:77", "cannot adopt fd:77: descriptor 77 is not open"),
        ("stray 7", "fd:7", "cannot adopt fd:7: descriptor 7 is no socket"),
        ("connected 7", "fd:7", "cannot adopt fd:7: descriptor 7 is neither a listening stream socket nor"),
        ("tcp4 7", "fd:7 fd:7", "cannot adopt fd:7: descriptor 7 is adopted twice"),
        ("tcp4 3 passed 1", "fd:3 systemd:INET:0", "descriptor 3 is adopted twice"),
        ("", "systemd:INET:0", "no sockets were passed: LISTEN_FDS is not set"),
        ("tcp4 3 passed 1@1", "systemd:INET:0", "the sockets were passed to process 1 and not to this one"),
        ("tcp4 3 passed 1", "systemd:INET:1", "there is no socket 1: 1 were passed"),
        ("tcp4 3 passed 1", "systemd:INET:name=web", "no socket was passed by the name web"),
        ("tcp4 3 tcp4 4 passed 2:web", "systemd:INET:0", "LISTEN_FDNAMES has 1 names for 2 sockets"),
        ("tcp6 3 passed 1:web", "systemd:INET:name=web", "descriptor 3 is a socket of domain INET6, not INET"),
        ("passed 1", "systemd:INET:0", "descriptor 3 "),
    ] {
        for daemon in [false, true] {
            let setup = Setup::alone().wrap(surroundings);
            let setup = setup.listen(&endpoints.split(' ').collect::<Vec<_>>());
            let ran = if daemon { setup.daemon() } else { setup }.run().expect(1).complains();
            ran.says(words);
        }
    }
}
