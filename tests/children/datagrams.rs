//! A child that answers datagrams: `WORD` with `GENERATION WORD`. It reads none once it was told to drain.

use std::net::UdpSocket;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket_protector_client::Protector;
use std::os::fd::AsFd;

/// Says ready, and answers until the drain.
pub(super) fn run() -> ExitCode {
    let protector = Protector::from_env().unwrap().expect("a supervisor");
    let socket = UdpSocket::from(protector.listeners()[0].try_clone().unwrap());
    protector.ready().unwrap();
    let mut buffer = [0; 512];
    loop {
        let mut sources =
            [PollFd::new(protector.as_fd(), PollFlags::POLLIN), PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut sources, PollTimeout::NONE).unwrap();
        // What is not read now is the next generation's.
        if protector.is_draining() {
            return ExitCode::SUCCESS;
        }
        // The other generation may have been faster.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let answer = [format!("{} ", protector.generation()).as_bytes(), &buffer[..length]].concat();
        socket.send_to(&answer, client).unwrap();
    }
}
