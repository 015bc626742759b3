//! Writing a list that is longer than one portion: piece by piece, as the client takes it.
//!
//! A list that cannot be finished is cut: its client never takes it for a whole one.

use std::time::Duration;

use http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::read::{List, Portion, Rest};
use super::reading::internal;

/// How long a client may take to accept a piece; a slower one is disconnected.
const SLOWEST: Duration = Duration::from_secs(30);

/// Writes it. An error means that the client has had a part, or is gone.
pub(super) async fn write(session: &mut Session, mut list: List, first: Portion, more: HeaderMap) -> Result<()> {
    let mut header = ResponseHeader::build(200, Some(8))?;
    header.insert_header(CONTENT_TYPE, "application/json")?;
    for (name, value) in &more {
        header.append_header(name.clone(), value.clone())?;
    }
    match session.req_header().version {
        Version::HTTP_11 => header.insert_header(TRANSFER_ENCODING, "chunked")?,
        // It ends with the connection.
        _ => session.set_keepalive(None),
    }
    session.as_downstream_mut().set_write_timeout(Some(SLOWEST));
    let bodiless = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), bodiless).await?;
    if bodiless {
        return Ok(());
    }
    let mut portion = first;
    loop {
        let rest = portion.rest;
        for piece in portion.pieces.into_iter().filter(|piece| !piece.is_empty()) {
            session.write_response_body(Some(piece), false).await?;
        }
        drop(portion.memory);
        if rest == Rest::Nothing {
            return session.write_response_body(None, true).await;
        }
        portion = match list.next().await {
            Ok(next) => next,
            Err(failure) => {
                tracing::debug!(reason = failure.reason(), "a list is cut");
                return Err(internal("the list cannot be finished"));
            }
        };
    }
}
