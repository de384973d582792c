//! A request as the gate knows it: it comes, may be lost by its server, and is done when this is dropped.

use crate::dev::event::{Event, Inbox, Standing, Verdict};
use crate::dev::gate::Request;
use std::sync::Arc;
use tokio::sync::oneshot;

/// One request.
#[derive(Debug)]
pub(super) struct Ticket {
    request: Request,
    inbox: Inbox,
    standing: Arc<Standing>,
}

impl Ticket {
    /// Asks where it goes. None: there is nobody to ask any more. `bound`: it may go to one server only.
    pub(super) async fn ask(request: Request, inbox: Inbox, bound: bool) -> (Ticket, Option<Verdict>) {
        let ticket = Ticket { request, inbox, standing: Arc::default() };
        ticket.bind(bound);
        let standing = Arc::clone(&ticket.standing);
        let verdict = ticket.verdict(|request, reply| Event::Came(request, standing, reply)).await;
        (ticket, verdict)
    }

    /// Says whether only the server that has it can answer it, in a time that can be waited for.
    pub(super) fn bind(&self, bound: bool) {
        self.standing.bind(bound);
    }

    /// Its server has not answered: asks where else it goes.
    pub(super) async fn lost(&self, may_replay: bool) -> Option<Verdict> {
        self.verdict(|request, reply| Event::Lost(request, may_replay, reply)).await
    }

    async fn verdict(&self, event: impl FnOnce(Request, oneshot::Sender<Verdict>) -> Event) -> Option<Verdict> {
        let (reply, verdict) = oneshot::channel();
        self.inbox.send(event(self.request, reply)).ok()?;
        verdict.await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = self.inbox.send(Event::Done(self.request));
    }
}
