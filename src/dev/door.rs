//! The way in while a server answers: requests go to it without waiting for the one who decides.
//!
//! Who comes and who leaves is written down here. Before anything that matters is decided the door is closed, and the gate is
//! told of those who have come in, as if it had let them in itself. Both hold the same lock, so nobody is overlooked and nobody
//! goes in behind a closed door.

use super::event::Standing;
use super::gate::{Generation, Request};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The door.
#[derive(Debug, Default)]
pub struct Door(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    /// Who answers, and where; none while the door is closed.
    server: Option<(Generation, SocketAddr)>,
    /// Those that have come in and have no answer yet, as far as the gate has not been told of them.
    requests: HashMap<Request, Arc<Standing>>,
}

impl Door {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request goes in, if the door is open: to this server, at this address.
    pub fn enter(&self, request: Request, standing: &Arc<Standing>) -> Option<(Generation, SocketAddr)> {
        let mut inside = self.inside();
        let server = inside.server?;
        inside.requests.insert(request, Arc::clone(standing));
        Some(server)
    }

    /// A request has its answer, or its client has gone. True: the gate is to be told. It knows of the request, or will hear of
    /// it: `asked` says that somebody has been sent to ask where it goes.
    pub fn leave(&self, request: Request, asked: bool) -> bool {
        let unknown = self.inside().requests.remove(&request).is_some();
        asked || !unknown
    }

    /// This server answers from now on.
    pub(super) fn open(&self, server: Generation, address: SocketAddr) {
        self.inside().server = Some((server, address));
    }

    /// From now on all ask. Gives those that have come in, whom the gate is to be told of.
    pub(super) fn close(&self) -> HashMap<Request, Arc<Standing>> {
        let mut inside = self.inside();
        inside.server = None;
        std::mem::take(&mut inside.requests)
    }

    /// The same for one that has come in, and asks now; the door stays as it is.
    pub(super) fn take(&self, request: Request) -> Option<Arc<Standing>> {
        self.inside().requests.remove(&request)
    }

    /// How many have come in that the gate has not been told of.
    pub(super) fn count(&self) -> usize {
        self.inside().requests.len()
    }

    /// Who answers those that come now.
    #[cfg(test)]
    pub(super) fn leads_to(&self) -> Option<Generation> {
        self.inside().server.map(|(server, _)| server)
    }
}

#[cfg(test)]
mod tests {
    use super::{Door, Generation, Request};
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    const REQUESTS: u64 = 20_000;
    const CLIENTS: u64 = 4;

    #[test]
    fn nobody_is_overlooked_and_nobody_goes_in_behind_a_closed_door() {
        let door = Door::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        // The generation up to which the door has been closed for ever.
        let (closed, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let (mut told, mut sum) = (0, (0, 0));
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (door, closed) = (&door, &closed);
                    scope.spawn(move || {
                        let (mut entered, mut unknown) = (0, 0);
                        for number in 0..REQUESTS {
                            let request = Request(number * CLIENTS + client);
                            let before = closed.load(Ordering::SeqCst);
                            if let Some((generation, _)) = door.enter(request, &Arc::default()) {
                                entered += 1;
                                assert!(generation.0 > before, "{generation:?} after {before} was closed");
                                unknown += u64::from(!door.leave(request, false));
                            }
                        }
                        (entered, unknown)
                    })
                })
                .collect();
            let driver = scope.spawn(|| {
                let (mut told, mut generation) = (0, 0);
                while !over.load(Ordering::SeqCst) {
                    generation += 1;
                    door.open(Generation(generation), address);
                    thread::yield_now();
                    told += door.close().len() as u64;
                    closed.store(generation, Ordering::SeqCst);
                    // Time to find it not closed.
                    thread::yield_now();
                }
                told
            });
            // All of them first: the driver goes on until it is told.
            let counts: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
            over.store(true, Ordering::SeqCst);
            for count in counts {
                let (entered, unknown) = count.unwrap();
                sum = (sum.0 + entered, sum.1 + unknown);
            }
            told = driver.join().unwrap();
        });
        let (entered, unknown) = sum;
        assert_eq!(entered, unknown + told, "each has left by itself, or the gate knows of it");
        assert!(door.close().is_empty());
    }
}
