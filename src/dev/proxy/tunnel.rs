//! What is no HTTP any more: bytes both ways, until both ends have said all.

use super::ticket::Ticket;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use log::debug;

/// Joins a client and a server once both have changed their protocol. The request is done with the tunnel's end.
pub(super) async fn join(client: OnUpgrade, server: OnUpgrade, ticket: Ticket) {
    match tokio::try_join!(client, server) {
        Ok((client, server)) => {
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                debug!("a tunnel has ended: {error}");
            }
        }
        Err(error) => debug!("a protocol was not changed: {error}"),
    }
    drop(ticket);
}
