//! The adapter for tokio.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod accepting;
#[path = "../common/mod.rs"]
mod common;
mod streams;
mod waiting;

use common::{Supervisor, answers, clients, listener};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use socket_protector_client::tokio::AsyncProtector;
use socket_protector_client::wire::{FromChild, MAX_STATE};
use socket_protector_client::{Connection, Error, Inherited, Protector, descriptors};
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpStream as Client;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream as UnixClient};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

/// Runs a test on a runtime with two threads, and not for ever.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(20), test).await.unwrap() })
}

/// Polls once: whether the future now waits.
async fn waits<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// A supervisor and its child, with connections passed or with one listener.
fn both_ways() -> [(Supervisor, Protector); 2] {
    [Supervisor::with(Vec::new()), Supervisor::with(vec![listener().0.into()])]
}

fn adapted((supervisor, protector): (Supervisor, Protector)) -> (Supervisor, AsyncProtector) {
    (supervisor, AsyncProtector::new(protector).unwrap())
}

async fn taken(protector: &AsyncProtector) -> Connection {
    protector.accept().await.unwrap().unwrap()
}
