//! Writes a list that is not in one piece: portion by portion, as the client takes it.
//!
//! A list that cannot be finished is aborted, so that the client never takes it for a whole one.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use pingora::Result;
use pingora::http::ResponseHeader;

use super::outlet::{Outlet, Rest};
use super::read::{List, Portion};
use super::respond::{self, internal};

/// Writes the list. After an error, the client has received a part or is gone.
pub(super) async fn write(outlet: &mut Outlet<'_>, mut list: List, first: Portion, more: HeaderMap) -> Result<()> {
    let mut header = ResponseHeader::build_no_case(200, Some(8))?;
    header.insert_header(CONTENT_TYPE, "application/json")?;
    for (name, value) in &more {
        header.append_header(name.clone(), value.clone())?;
    }
    match first.rest {
        Rest::Nothing => {
            header.insert_header(CONTENT_LENGTH, first.pieces.iter().map(Bytes::len).sum::<usize>())?;
        }
        Rest::Follows => respond::without_length(outlet, &mut header)?,
    }
    outlet.close_unless_read();
    if outlet.is_head() {
        return outlet.header(header, Rest::Nothing).await;
    }
    outlet.header(header, Rest::Follows).await?;
    let mut portion = first;
    loop {
        respond::pieces(outlet, portion.pieces).await?;
        if portion.rest == Rest::Nothing {
            return outlet.end().await;
        }
        portion = match list.next().await {
            Ok(next) => next,
            Err(failure) => {
                tracing::debug!(reason = failure.reason(), "a list was aborted");
                return Err(internal("the list cannot be finished"));
            }
        };
    }
}
