//! A live stream of events for a session or a transaction: server-sent events.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use super::query::Query;
use super::{Refusal, Safety, view};
use crate::chroma::EdgeAnswer;
use crate::events::{Audience, EventStream, Opened, Resume};
use crate::journal::{EventId, EventScope};
use crate::web::{Live, PageAnswer, PageRequest, Reply};

const LAST_EVENT_ID: &str = "last-event-id";
/// Tells nginx and similar proxies to pass each message on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The longest session name, in bytes, that a stream can be opened for.
const LONGEST_SESSION: usize = 255;

impl Safety {
    /// Opens the requested stream.
    pub(super) async fn events(&self, request: &PageRequest) -> Result<PageAnswer, Refusal> {
        let query = Query::of(&request.query);
        let (scope, status) = match (query.get("client"), query.get("transaction")) {
            (Some(session), None) => (EventScope::Session(session_named(session)?), None),
            (None, Some(id)) => {
                let found = self.find(id, None, &request.principal).await?.transaction;
                (EventScope::Transaction(found.transaction_id), Some(found.status))
            }
            (Some(_), Some(_)) | (None, None) => return Err(Refusal::OneOfTwo),
        };
        if request.method == Method::HEAD {
            return Ok(PageAnswer::Live(Box::new(HeadOnly)));
        }
        let subscription =
            self.hub.listen(scope, request.client_ip.as_deref().unwrap_or_default()).ok_or(Refusal::TooManyStreams)?;
        let audience = match request.principal.sees_only() {
            None => Audience::Everyone,
            Some(name) => Audience::Only(name.to_owned()),
        };
        let resume = resume(request.headers.get(LAST_EVENT_ID));
        Ok(match EventStream::open(subscription, view::shown_in_event, audience, resume, status).await? {
            Opened::Stream(stream) => PageAnswer::Live(Box::new(stream)),
            // 204 makes `EventSource` stop reconnecting.
            Opened::Over => Reply::from(EdgeAnswer::empty(204)).into(),
        })
    }
}

fn session_named(text: &str) -> Result<String, Refusal> {
    let expected = "1 to 255 visible ASCII characters or spaces";
    let valid = !text.is_empty() && text.len() <= LONGEST_SESSION && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    valid.then(|| text.to_owned()).ok_or(Refusal::BadParameter { name: "client", expected })
}

fn resume(header: Option<&HeaderValue>) -> Resume {
    match header.map(|value| value.to_str().map(str::trim)) {
        None | Some(Ok("")) => Resume::Fresh,
        Some(Ok(text)) => text.parse().map_or(Resume::Unknown, |number| Resume::After(EventId::new(number))),
        Some(Err(_)) => Resume::Unknown,
    }
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ])
}

#[async_trait]
impl Live for EventStream {
    fn headers(&self) -> HeaderMap {
        headers()
    }

    async fn next(&mut self) -> Option<Bytes> {
        EventStream::next(self).await
    }
}

/// The answer to HEAD: the headers of a stream without events.
struct HeadOnly;

#[async_trait]
impl Live for HeadOnly {
    fn headers(&self) -> HeaderMap {
        headers()
    }

    async fn next(&mut self) -> Option<Bytes> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_is_a_number_and_nothing_is_none() {
        let of = |text: &'static str| resume(Some(&HeaderValue::from_static(text)));
        assert_eq!(of("4711"), Resume::After(EventId::new(4711)));
        assert_eq!((of(""), resume(None)), (Resume::Fresh, Resume::Fresh));
        for bad in ["-1", "x", "4711x", "1e3", "99999999999999999999999"] {
            assert_eq!(of(bad), Resume::Unknown, "{bad}");
        }
        assert_eq!(resume(Some(&HeaderValue::from_bytes(b"\xff").unwrap())), Resume::Unknown);
    }

    #[test]
    fn a_session_is_a_short_text() {
        assert!(session_named("tab 1").is_ok() && session_named(&"x".repeat(255)).is_ok());
        for bad in ["", "\u{e4}", "a\nb", "\0"] {
            assert!(session_named(bad).is_err(), "{bad:?}");
        }
        assert!(session_named(&"x".repeat(256)).is_err());
    }
}
