//! Writing a list that is not in one piece: portion by portion, as the client takes it.
//!
//! A list that cannot be finished is cut: its client never takes it for a whole one.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::read::{List, Portion};
use super::reading::internal;
use super::respond::{self, Rest};

/// Writes it. An error means that the client has had a part, or is gone.
pub(super) async fn write(session: &mut Session, mut list: List, first: Portion, more: HeaderMap) -> Result<()> {
    let mut header = ResponseHeader::build(200, Some(8))?;
    header.insert_header(CONTENT_TYPE, "application/json")?;
    for (name, value) in &more {
        header.append_header(name.clone(), value.clone())?;
    }
    match (first.rest, session.req_header().version) {
        (Rest::Nothing, _) => {
            header.insert_header(CONTENT_LENGTH, first.pieces.iter().map(Bytes::len).sum::<usize>())?;
        }
        (Rest::Follows, Version::HTTP_11) => header.insert_header(TRANSFER_ENCODING, "chunked")?,
        // It ends with the connection.
        (Rest::Follows, _) => session.set_keepalive(None),
    }
    if !session.as_mut().is_body_done() {
        session.set_keepalive(None);
    }
    respond::hurry(session);
    let bodiless = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(header), bodiless).await?;
    if bodiless {
        return Ok(());
    }
    let mut portion = first;
    loop {
        let rest = portion.rest;
        for piece in portion.pieces.into_iter().filter(|piece| !piece.is_empty()) {
            respond::body(session, piece, Rest::Follows).await?;
        }
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
