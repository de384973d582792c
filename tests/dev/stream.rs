//! Bodies without end: what is slow makes the other side wait, and memory does not grow.

use super::stage::{Proxy, Setup};
use crate::harness::{eventually, trials};

trials![
    a_large_download_passes_in_little_memory,
    a_large_upload_passes_in_little_memory,
    a_slow_client_holds_the_server_up,
    a_slow_server_holds_the_client_up,
    a_client_that_leaves_is_noticed_by_the_server,
];

const LARGE: usize = 256 * 1024 * 1024;

/// What it has in memory of its own, in KiB.
pub(super) fn memory(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn a_large_download_passes_in_little_memory() {
    let proxy = Setup::new().script("large", &format!("send HTTP/1.1 200 OK\\r\\n\\r\\n\nfill {LARGE}")).start();
    proxy.wait_version("1");
    let before = memory(&proxy);
    let mut client = proxy.client();
    client.send("GET /large HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(client.swallow() > LARGE);
    assert!(memory(&proxy) < before + 16 * 1024, "{} KiB, {before} before", memory(&proxy));
}

fn a_large_upload_passes_in_little_memory() {
    let proxy = Setup::new()
        .script("large", &format!("count {LARGE}\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"))
        .start();
    proxy.wait_version("1");
    let before = memory(&proxy);
    let mut client = proxy.client();
    client.send(&format!("POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n"));
    let piece = vec![b'x'; 1024 * 1024];
    (0..LARGE / piece.len()).for_each(|_| client.send_bytes(&piece));
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
    assert!(memory(&proxy) < before + 16 * 1024, "{} KiB, {before} before", memory(&proxy));
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200, "and the connection goes on");
}

fn a_slow_client_holds_the_server_up() {
    let proxy =
        Setup::new().script("large", &format!("send HTTP/1.1 200 OK\\r\\n\\r\\n\nfill {LARGE}\nnote all-sent")).start();
    proxy.wait_version("1");
    let before = memory(&proxy);
    let mut client = proxy.client();
    client.send("GET /large HTTP/1.0\r\nHost: localhost\r\n\r\n");
    client.bytes(1000);
    assert_eq!(proxy.get("/").0, 200, "nobody else waits");
    assert!(!proxy.scene.path("web/all-sent").exists());
    assert!(memory(&proxy) < before + 16 * 1024);
    assert!(client.swallow() > LARGE - 1000);
    eventually("the server has sent all", || proxy.scene.path("web/all-sent").exists());
}

fn a_slow_server_holds_the_client_up() {
    let proxy = Setup::new()
        .script(
            "slow",
            &format!("note begun\nuntil go\ncount {LARGE}\nsend HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"),
        )
        .start();
    proxy.wait_version("1");
    let before = memory(&proxy);
    let mut client = proxy.client();
    client.send(&format!("POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n"));
    let written = client.write_until_stuck(LARGE);
    assert!(written < LARGE / 2, "{written} bytes were taken that nobody has read");
    assert!(memory(&proxy) < before + 16 * 1024);
    assert_eq!(proxy.get("/").0, 200, "nobody else waits");
    proxy.scene.write("web/go", "");
    let piece = vec![b'x'; LARGE - written];
    client.send_bytes(&piece);
    assert_eq!(client.head().status, 200);
}

fn a_client_that_leaves_is_noticed_by_the_server() {
    let proxy = Setup::new()
        .script("half", "note begun\neof\nnote ended")
        .script("quiet", "note waits\neof\nnote left")
        .start();
    proxy.wait_version("1");
    let mut client = proxy.client();
    client.send("POST /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\nhalf");
    eventually("it has begun", || proxy.scene.path("web/begun").exists());
    drop(client);
    eventually("the server sees the end", || proxy.scene.path("web/ended").exists());
    let mut client = proxy.client();
    client.send("GET /quiet HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it waits", || proxy.scene.path("web/waits").exists());
    drop(client);
    eventually("the server sees the end", || proxy.scene.path("web/left").exists());
}
