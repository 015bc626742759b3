//! Answers that go on for as long as the client listens, written piece by piece.
//!
//! The client's connection is watched meanwhile, so that a client that has gone frees its stream. When the edge stops,
//! all streams end at once and their clients resume elsewhere.

use http::HeaderMap;
use pingora::Result;
use pingora::http::ResponseHeader;

use super::outlet::{Outlet, Rest};
use super::{Admission, respond};
use crate::web::{Live, harden};

/// Writes the answer until it ends, the client goes or does not read, or the edge stops. After an error, the client has
/// received a part.
pub(super) async fn write(
    outlet: &mut Outlet<'_>,
    mut live: Box<dyn Live>,
    admission: &Admission,
    more: HeaderMap,
) -> Result<()> {
    let mut header = ResponseHeader::build(200, Some(8))?;
    let mut headers = live.headers();
    harden(&mut headers);
    for (name, value) in headers.iter().chain(&more) {
        header.append_header(name.clone(), value.clone())?;
    }
    respond::without_length(outlet, &mut header)?;
    let downstream = outlet.session.as_downstream_mut();
    downstream.set_abort_on_close(true);
    // A pipelined request must not be read as part of the stream.
    downstream.set_keepalive(None);
    if outlet.is_head() {
        return outlet.header(header, Rest::Nothing).await;
    }
    outlet.header(header, Rest::Follows).await?;
    loop {
        let piece = tokio::select! {
            biased;
            () = admission.stopping() => break,
            gone = outlet.session.as_downstream_mut().read_body_or_idle(true) => return gone.map(drop),
            piece = live.next() => piece,
        };
        let Some(piece) = piece else { break };
        // A stop does not interrupt it: the client would take half a message for a whole, broken one.
        outlet.part(piece, Rest::Follows).await?;
    }
    outlet.end().await
}
