//! Handoffs between our library and a program in Go that speaks the documented wire (`peer.go`), in both directions.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::fstat;
use socket_protector_client::handoff::{self, Descriptor, Error, Metadata, Receiver, Sequence, Server, gob};

use crate::harness::ran::{Ran, Running};
use crate::harness::{PATIENCE, Scene, trials_with};

trials_with![
    GO => go_receives_what_we_serve,
    GO => we_receive_what_go_serves,
    GO => every_value_of_go_is_read_and_every_value_of_ours_by_go,
    GO => a_go_program_that_ends_in_the_middle_is_an_error,
    GO => the_blocking_flag_is_shared_with_go,
];

const GO: &str = "go version";

/// The program, compiled once.
fn peer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
        let program = folder.join("peer");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handoff/peer.go");
        let mut build = Command::new("go");
        build.arg("build").arg("-o").arg(&program).arg(source);
        // Nothing of the user's is read or written, and nothing is fetched.
        build.env("GOCACHE", folder.join("cache")).env("GOPATH", folder.join("path")).env("GOENV", "off");
        build.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("GOFLAGS", "").env("CGO_ENABLED", "0");
        Running::start(&mut build).finish(PATIENCE * 15).expect(0);
        program
    })
}

/// So many files of a scene.
fn files(scene: &Scene, count: usize) -> Vec<PathBuf> {
    (0..count).map(|index| scene.write(&format!("file{index}"), "")).collect()
}

fn identity(path: &Path) -> String {
    let found = fs::metadata(path).unwrap();
    format!("{}:{}", found.dev(), found.ino())
}

fn identity_of(descriptor: &Descriptor) -> String {
    let found = fstat(descriptor).unwrap();
    format!("{}:{}", found.st_dev, found.st_ino)
}

/// Serves a sequence to one receiver in Go; what it prints.
fn given_to_go(scene: &Arc<Scene>, mut sequence: Sequence<'_>) -> Ran {
    let path = scene.path("server");
    let server = Server::bind(&path).unwrap();
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&mut sequence, |error| panic!("{error:?}")));
        let mut command = Command::new(peer());
        let ran = Running::start(scene.mark(command.arg("receive").arg(&path))).finish(PATIENCE);
        server.stop();
        serving.join().unwrap().unwrap();
        ran
    })
}

fn go_receives_what_we_serve() {
    let scene = Scene::new();
    for count in [0, 1, 2, 170, 171, 400] {
        let files = files(&scene, count);
        let mut sequence = Sequence::new();
        let mut expected = String::new();
        for (index, path) in files.iter().enumerate() {
            let name = path.to_str().unwrap();
            let map = gob::Map::from([(b"name".to_vec(), name.into())]);
            let (metadata, shown) = match index % 4 {
                0 => (Vec::new(), "-".to_owned()),
                1 => (name.as_bytes().to_vec(), name.to_owned()),
                2 => (gob::encode(&map), format!("name=string:{name}")),
                _ => (vec![b'x'; 4092], "x".repeat(4092)),
            };
            sequence = sequence.push(File::open(path).unwrap(), metadata);
            expected += &format!("{} true {shown}\n", identity(path));
        }
        let ran = given_to_go(&scene, sequence).expect(0);
        assert!(ran.out == expected, "{count} descriptors");
    }
}

/// A program in Go that serves one client, and listens.
struct Go {
    child: Child,
    said: BufReader<ChildStdout>,
    path: PathBuf,
}

impl Go {
    fn start(scene: &Arc<Scene>, command: &str, words: &[&str]) -> Go {
        let path = scene.path("go");
        let mut child = Command::new(peer());
        child.arg(command).arg(&path).args(words).stdout(Stdio::piped());
        let mut child = scene.mark(&mut child).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut go = Go { child, said, path };
        assert_eq!(go.says(), "listens");
        go
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// All that it gives.
    fn gives(&self) -> Result<Vec<(Descriptor, Vec<u8>)>, Error> {
        let mut given = Vec::new();
        handoff::receive(&self.path, |descriptor, metadata| {
            given.push((descriptor, metadata.to_vec()));
            Ok(())
        })?;
        Ok(given)
    }

    fn ends(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

fn we_receive_what_go_serves() {
    let scene = Scene::new();
    for (count, style) in [(0, "none"), (1, "none"), (170, "none"), (171, "none"), (400, "raw"), (400, "gob")] {
        let files = files(&scene, count);
        let mut words = vec![style];
        words.extend(files.iter().map(|path| path.to_str().unwrap()));
        let go = Go::start(&scene, "serve", &words);
        let given = go.gives().unwrap();
        go.ends();
        assert_eq!(given.len(), count);
        for ((descriptor, metadata), path) in given.iter().zip(&files) {
            assert_eq!(identity_of(descriptor), identity(path));
            let flags = FdFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
            let metadata = Metadata::of(metadata);
            match style {
                "gob" => assert!(matches!(metadata, Metadata::Gob(_))),
                "raw" => assert!(matches!(metadata, Metadata::Raw(_))),
                _ => assert_eq!(metadata, Metadata::None),
            }
            let name = path.display();
            let shown = match style {
                "gob" => format!("name={name}"),
                "raw" => name.to_string(),
                _ => "-".to_owned(),
            };
            assert_eq!(metadata.to_string(), shown);
        }
    }
}

/// The same values as in peer.go.
fn every_value() -> gob::Map {
    let values: [(&str, gob::Value); 8] = [
        ("nil", gob::Value::Nil),
        ("bool", gob::Value::Bool(true)),
        ("int", gob::Value::Int(-7)),
        ("int64", gob::Value::Int64(1 << 40)),
        ("uint", gob::Value::Uint(300)),
        ("float64", gob::Value::Float64(-2.5)),
        ("bytes", gob::Value::Bytes(vec![0, 1, 255])),
        ("string", gob::Value::String("long ".repeat(60).into_bytes())),
    ];
    values.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect()
}

fn every_value_of_go_is_read_and_every_value_of_ours_by_go() {
    let scene = Scene::new();
    let go = Go::start(&scene, "values", &[]);
    let given = go.gives().unwrap();
    go.ends();
    assert_eq!(Metadata::of(&given[0].1), Metadata::Gob(every_value()));
    let null = Path::new("/dev/null");
    let sequence = Sequence::new().push(File::open(null).unwrap(), gob::encode(&every_value()));
    let ran = given_to_go(&scene, sequence).expect(0);
    let shown = format!(
        "{} true bool=bool:true bytes=[]uint8:[0 1 255] float64=float64:-2.5 int64=int64:1099511627776 int=int:-7 \
         nil=<nil>:<nil> string=string:{} uint=uint:300\n",
        identity(null),
        "long ".repeat(60)
    );
    assert_eq!(ran.out, shown);
}

fn a_go_program_that_ends_in_the_middle_is_an_error() {
    let scene = Scene::new();
    let go = Go::start(&scene, "half", &[]);
    let error = go.gives().unwrap_err();
    assert!(matches!(error, Error::Ended { missing: 12 }), "{error:?}");
    go.ends();
}

fn is_nonblocking(descriptor: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
}

fn the_blocking_flag_is_shared_with_go() {
    let scene = Scene::new();
    let mut go = Go::start(&scene, "listener", &[]);
    // By hand, because the connection stays while the flag is looked at.
    let stream = std::os::unix::net::UnixStream::connect(&go.path).unwrap();
    let mut listener = None;
    let take = |descriptor: Descriptor, _: &[u8]| {
        listener = Some(descriptor.into_tcp_listener()?);
        Ok(())
    };
    assert_eq!(Receiver::new().receive_from(&stream, take).unwrap(), 1);
    assert_eq!(go.says(), "blocks true");
    let listener: TcpListener = listener.unwrap();
    assert!(!is_nonblocking(&listener));
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    drop(stream);
    assert_eq!(go.says(), "blocks false");
    go.ends();
    // And one of ours arrives as it is.
    let ran = given_to_go(&scene, Sequence::new().push(&listener, "ours")).expect(0);
    assert!(ran.out.ends_with(" false ours\n"), "{ran:?}");
}
