//! HAProxy and nginx as plain TCP proxies, for comparison and as peers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Program, search_path};
use crate::forward::place::free_port;
use crate::harness::{Scene, eventually};

/// One of them, from `front` to where its configuration says.
pub(super) struct Proxy {
    pub(super) front: SocketAddr,
    /// Where HAProxy answers questions.
    pub(super) control: PathBuf,
    _running: Program,
}

impl Proxy {
    /// HAProxy, with options of its `bind` line and its server's line, behind which more lines may follow.
    pub(super) fn haproxy(scene: &Scene, bind: &str, server: &str) -> Proxy {
        let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let control = scene.path("haproxy.sock");
        let text = format!(
            "global\n  maxconn 200\n  stats socket {control} mode 600\n\
             defaults\n  mode tcp\n  unique-id-format %{{+X}}o%ci%cp\n\
             \x20 timeout connect 10s\n  timeout client 1m\n  timeout server 1m\n\
             frontend front\n  bind {front} {bind}\n  default_backend back\n\
             backend back\n  {server}\n",
            control = control.display(),
        );
        let file = scene.write("haproxy.cfg", &text);
        let mut command = Command::new("haproxy");
        command.env("PATH", search_path()).arg("-db").arg("-f").arg(file);
        let running = Program::start(scene, "haproxy", &mut command, Signal::SIGTERM);
        Proxy { front, control, _running: running }.ready()
    }

    /// nginx, with more lines for its server.
    pub(super) fn nginx(scene: &Scene, destination: SocketAddr, more: &str) -> Proxy {
        let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = scene.path("nginx");
        std::fs::create_dir_all(&folder).unwrap();
        let dir = folder.display();
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
             daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log {dir}/error.log;\n\
             events {{ }}\n\
             stream {{ server {{ listen {front}; proxy_pass {destination}; {more} }} }}\n"
        );
        let file = scene.write("nginx.conf", &text);
        let mut command = Command::new("nginx");
        command.env("PATH", search_path()).arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log"));
        let running = Program::start(scene, "nginx", command.arg("-c").arg(file), Signal::SIGTERM);
        Proxy { front, control: PathBuf::new(), _running: running }.ready()
    }

    /// Once it listens. A connection to see whether it does would be one too many at the destination.
    fn ready(self) -> Proxy {
        eventually("it listens", || listens(self.front.port()));
        self
    }
}

fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let place = format!("0100007F:{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1] == place && fields[3] == "0A"
    })
}
