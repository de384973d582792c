//! A request as the gate knows it: it comes, may be lost by its server, and is done when this is dropped. While a server answers it
//! goes in by the door, and the gate hears of it only when that matters.

use super::Front;
use crate::dev::door::Door;
use crate::dev::event::{Event, Inbox, Standing, Verdict};
use crate::dev::gate::Request;
use std::sync::Arc;
use tokio::sync::oneshot;

/// One request.
#[derive(Debug)]
pub(super) struct Ticket {
    request: Request,
    door: Arc<Door>,
    inbox: Inbox,
    standing: Arc<Standing>,
    /// It has been asked where this goes, so that it is to be told when it is done.
    asked: bool,
}

impl Ticket {
    /// Where the next request goes. None: there is nobody to ask any more. `bound`: it may go to one server only.
    pub(super) async fn ask(front: &Front, bound: bool) -> (Ticket, Option<Verdict>) {
        let (door, inbox, standing) = (Arc::clone(&front.door), front.inbox.clone(), Arc::default());
        let mut ticket = Ticket { request: front.number(), door, inbox, standing, asked: false };
        ticket.bind(bound);
        if let Some((generation, address)) = ticket.door.enter(ticket.request, &ticket.standing) {
            return (ticket, Some(Verdict::Forward(generation, address)));
        }
        let standing = Arc::clone(&ticket.standing);
        let verdict = ticket.verdict(|request, reply| Event::Came(request, standing, reply)).await;
        (ticket, verdict)
    }

    /// Says whether only the server that has it can answer it, in a time that can be waited for.
    pub(super) fn bind(&self, bound: bool) {
        self.standing.bind(bound);
    }

    /// Its server has not answered: asks where else it goes.
    pub(super) async fn lost(&mut self, may_replay: bool) -> Option<Verdict> {
        self.verdict(|request, reply| Event::Lost(request, may_replay, reply)).await
    }

    async fn verdict(&mut self, event: impl FnOnce(Request, oneshot::Sender<Verdict>) -> Event) -> Option<Verdict> {
        self.asked = true;
        let (reply, verdict) = oneshot::channel();
        self.inbox.send(event(self.request, reply)).ok()?;
        verdict.await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.door.leave(self.request, self.asked) {
            let _ = self.inbox.send(Event::Done(self.request));
        }
    }
}
