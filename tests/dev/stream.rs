//! Bodies without end: what is slow makes the other side wait, and memory does not grow.

use super::stage::{Proxy, Setup};
use crate::harness::process::processor_time;
use crate::harness::{eventually, stays, trials};
use std::time::Duration;

trials![
    a_large_download_passes_in_little_memory,
    a_large_upload_passes_in_little_memory,
    who_takes_a_byte_at_a_time_costs_little_and_delays_nobody,
    a_slow_client_holds_the_server_up,
    a_slow_server_holds_the_client_up,
    a_client_that_leaves_is_noticed_by_the_server,
    an_upload_is_answered_early_at_any_moment,
    a_client_that_leaves_in_the_midst_of_chunks_leaves_nothing_behind,
];

const LARGE: usize = 256 * 1024 * 1024;
/// How much more memory than before it may have had at any time, in KiB, for one body whatever its length.
const LITTLE: usize = 16 * 1024;
const OK: &str = "send HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok";

/// So long are bodies that are checked byte by byte. `DEV_LARGE_MIB=5120 cargo test --test suite -- dev::stream` makes them as long
/// as that.
fn length() -> u64 {
    std::env::var("DEV_LARGE_MIB").map_or(LARGE as u64, |count| count.parse::<u64>().unwrap() * 1024 * 1024)
}

fn status(proxy: &Proxy, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// What it has in memory of its own, in KiB.
pub(super) fn memory(proxy: &Proxy) -> usize {
    status(proxy, "RssAnon:")
}

/// The most that it has had in memory at any time, in KiB.
fn peak(proxy: &Proxy) -> usize {
    status(proxy, "VmHWM:")
}

fn a_large_download_passes_in_little_memory() {
    let length = length();
    let proxy = Setup::new()
        .script("end", &format!("send HTTP/1.1 200 OK\\r\\n\\r\\n\npattern {length}"))
        .script("length", &format!("send HTTP/1.1 200 OK\\r\\nContent-Length: {length}\\r\\n\\r\\n\npattern {length}"))
        .start();
    proxy.wait_version("1");
    let before = peak(&proxy);
    for path in ["end", "length"] {
        let mut client = proxy.client();
        client.send(&format!("GET /{path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
        assert_eq!(client.head().status, 200);
        assert_eq!(client.pattern(length), length, "{path}: all of it, as it was");
        assert_eq!(client.byte(), None);
        assert!(peak(&proxy) < before + LITTLE, "{} KiB, {before} before", peak(&proxy));
    }
}

fn a_large_upload_passes_in_little_memory() {
    let length = length();
    let proxy = Setup::new().script("large", &format!("expect {length}\n{OK}")).start();
    proxy.wait_version("1");
    let before = peak(&proxy);
    let mut client = proxy.client();
    client.send(&format!("POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"));
    client.send_pattern(length);
    let head = client.head();
    assert_eq!((head.status, client.body(&head)), (200, b"ok".to_vec()));
    assert!(!proxy.scene.path("web/wrong").exists(), "wrong from byte {}", proxy.scene.read("web/wrong"));
    assert!(peak(&proxy) < before + LITTLE, "{} KiB, {before} before", peak(&proxy));
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200, "and the connection goes on");
}

fn who_takes_a_byte_at_a_time_costs_little_and_delays_nobody() {
    const READERS: usize = 50;
    /// In KiB.
    const EACH: usize = 920;
    let length = length();
    let proxy = Setup::new()
        .script("large", &format!("send HTTP/1.1 200 OK\\r\\nContent-Length: {length}\\r\\n\\r\\n\npattern {length}"))
        .start();
    proxy.wait_version("1");
    let before = memory(&proxy);
    let mut readers: Vec<_> = (0..READERS).map(|_| proxy.client()).collect();
    for reader in &mut readers {
        reader.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(reader.head().status, 200);
    }
    for _ in 0..100 {
        readers.iter_mut().for_each(|reader| assert!(reader.byte().is_some()));
        assert_eq!(proxy.get("/"), (200, "1".into()));
    }
    assert!(memory(&proxy) < before + READERS * EACH, "{} KiB, {before} before", memory(&proxy));
    let used = processor_time(proxy.pid());
    // Nothing moves now, and nobody turns in a circle for it.
    stays("it rests", Duration::from_millis(500), || processor_time(proxy.pid()) < used + Duration::from_millis(250));
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

fn an_upload_is_answered_early_at_any_moment() {
    let refusal =
        "send HTTP/1.1 413 Content Too Large\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nno!\nend\neof";
    let proxy = Setup::new()
        .script("head", refusal)
        .script("half", &format!("count 500000\n{refusal}"))
        .script("chunks", &format!("count 100000\n{refusal}"))
        .start();
    proxy.wait_version("1");
    let half = "x".repeat(500_000);
    for (path, length, body) in [
        ("head", "Content-Length: 1000000", ""),
        ("half", "Content-Length: 1000000", half.as_str()),
        ("chunks", "Transfer-Encoding: chunked", &format!("7a120\r\n{half}\r\n")),
    ] {
        let mut client = proxy.client();
        client.send(&format!("POST /{path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n"));
        client.try_send(body.as_bytes());
        let head = client.head();
        assert_eq!((head.status, client.body(&head)), (413, b"no!".to_vec()), "{path}");
    }
    eventually("nothing is in progress", || proxy.get("/").0 == 200);
}

fn a_client_that_leaves_in_the_midst_of_chunks_leaves_nothing_behind() {
    let proxy = Setup::new().script("half", "note begun\nbody\nnote whole").start();
    proxy.wait_version("1");
    let before = crate::harness::process::descriptors_of(proxy.pid()).len();
    for reset in [false, true] {
        let mut client = proxy.client();
        client.send("POST /half HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf");
        eventually("the server has it", || proxy.scene.path("web/begun").exists());
        std::fs::remove_file(proxy.scene.path("web/begun")).unwrap();
        if reset {
            client.reset();
        }
        drop(client);
        eventually("both connections are closed", || {
            crate::harness::process::descriptors_of(proxy.pid()).len() <= before
        });
    }
    assert!(!proxy.scene.path("web/whole").exists(), "half a body is none");
}
