//! Answers that go on while their client listens: written piece by piece, each within a time limit.
//!
//! The client's connection is watched meanwhile: a client that has gone frees its stream. A stop of the edge ends all
//! streams at once; their clients resume elsewhere.

use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::Admission;
use crate::web::Live;

/// How long a client may take to accept a piece; a slower one is disconnected.
const SLOWEST: Duration = Duration::from_secs(10);

/// Writes it until it ends, the client goes or does not read, or the edge stops. After an error the client has had a part.
pub(super) async fn write(
    session: &mut Session,
    mut live: Box<dyn Live>,
    admission: &Admission,
    more: HeaderMap,
) -> Result<()> {
    let mut header = ResponseHeader::build(200, Some(8))?;
    for (name, value) in live.headers().iter().chain(&more) {
        header.append_header(name.clone(), value.clone())?;
    }
    if session.req_header().version == Version::HTTP_11 {
        // Else Pingora would end it by closing the connection, and a break would look like the end.
        header.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    let downstream = session.as_downstream_mut();
    downstream.set_abort_on_close(true);
    downstream.set_write_timeout(Some(SLOWEST));
    // A pipelined request must not be read as part of the stream.
    downstream.set_keepalive(None);
    let bodiless = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), bodiless).await?;
    if bodiless {
        return Ok(());
    }
    loop {
        let piece = tokio::select! {
            biased;
            () = admission.stopping() => break,
            gone = session.as_downstream_mut().read_body_or_idle(true) => return gone.map(drop),
            piece = live.next() => piece,
        };
        let Some(piece) = piece else { break };
        // Not interrupted by a stop: half a message would be read as a whole one that is broken.
        session.write_response_body(Some(piece), false).await?;
    }
    session.write_response_body(None, true).await
}
