//! A route that changes all the time, under load.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use socket_protector::net::relay::{Destination, News, Settings};

use super::bodies;
use super::scene::{Scene, listening, patient, settings, share, to};
use crate::harness::{PATIENCE, eventually, until};

bodies![a_thousand_flaps_under_load_lose_no_connection_and_no_count];

const FLAPS: usize = 1000;

/// Answers each connection with its letter, until it is told to stop; how many there were.
fn serve(listener: TcpListener, letter: u8, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let mut served = 0;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    let mut stream = patient(stream);
                    let mut word = [0; 4];
                    stream.read_exact(&mut word).unwrap();
                    stream.write_all(&[letter]).unwrap();
                    served += 1;
                }
                Err(_) if stop.load(Ordering::SeqCst) => return served,
                Err(_) => {
                    use std::os::fd::AsFd;
                    let mut poll = [nix::poll::PollFd::new(listener.as_fd(), nix::poll::PollFlags::POLLIN)];
                    nix::poll::poll(&mut poll, nix::poll::PollTimeout::from(50_u8)).unwrap();
                }
            }
        }
    })
}

fn a_thousand_flaps_under_load_lose_no_connection_and_no_count() {
    let threads = std::num::NonZeroUsize::new(2).unwrap();
    let mut scene = Scene::with(Settings { threads, tell_ends: false, ..settings() });
    let (stop, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let second = listening();
    let other = scene.relay.destination(2, to(&second), None);
    let servers = [
        serve(scene.backend.try_clone().unwrap(), b'a', Arc::clone(&closed)),
        serve(second, b'b', Arc::clone(&closed)),
    ];
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..4).map(|_| load(scene.address, Arc::clone(&done), Arc::clone(&stop))).collect();
    let both = [Arc::clone(&scene.destination), Arc::clone(&other)];
    for flap in 0..FLAPS {
        let (new, old) = (&both[(flap + 1) % 2], &both[flap % 2]);
        new.unwatch();
        scene.route.set(share(new));
        if !old.watch() {
            drained(&mut scene, old);
        }
        assert_eq!(old.counts().connections, 0, "flap {flap}");
        let (before, so_far) = (done.load(Ordering::SeqCst), flap / 100);
        if flap % 100 == 0 {
            eventually("the load goes on", || done.load(Ordering::SeqCst) > before + so_far as u64);
        }
    }
    stop.store(true, Ordering::SeqCst);
    let asked: [u64; 2] = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .fold([0, 0], |sum, answers| [sum[0] + answers[0], sum[1] + answers[1]]);
    closed.store(true, Ordering::SeqCst);
    let served = servers.map(|server| server.join().unwrap());
    assert_eq!(asked, served);
    assert_eq!([both[0].counts().total, both[1].counts().total], served);
    eventually("none is left", || both.iter().all(|destination| destination.counts().connections == 0));
    assert_eq!(both.map(|destination| destination.counts().failures), [0, 0]);
}

/// Asks one after another; how many answers were of each letter.
fn load(
    address: std::net::SocketAddr,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<[u64; 2]> {
    std::thread::spawn(move || {
        let mut answers = [0, 0];
        while !stop.load(Ordering::SeqCst) {
            let mut client = patient(std::net::TcpStream::connect(address).unwrap());
            client.write_all(b"word").unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer.len(), 1);
            answers[usize::from(answer[0] - b'a')] += 1;
            done.fetch_add(1, Ordering::SeqCst);
        }
        answers
    })
}

#[track_caller]
fn drained(scene: &mut Scene, old: &Arc<Destination>) {
    let id = old.id();
    until("the former destination is drained", PATIENCE, || match scene.news.next() {
        Some(News::Drained { destination }) if destination == id => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
