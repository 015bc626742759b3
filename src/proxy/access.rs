//! The access log: one line for each request, written when its answer has ended.
//!
//! Decides what a line shows: no headers except those named here, no query and no body.

use std::sync::Arc;

use http::HeaderName;
use pingora::Error;
use pingora::proxy::Session;

use super::context::Context;
use super::forwarded;
use super::{AccessLog, Edge};
use crate::auth::Principal;
use crate::metrics::{self, Answered};
use crate::web::{INSTANCE, TRANSACTION_ID};

/// Counts the request and logs its line: at info level if `edge` has the access log on, otherwise at debug level.
pub(super) fn ended(session: &Session, error: Option<&Error>, context: &Context, edge: Option<&Arc<Edge>>) {
    let status = session.response_written().map_or(0, |response| response.status.as_u16());
    let (operation, failure, took) = (context.operation, context.failure, context.started.elapsed());
    let answered = Answered { operation, status, instance: header(session, &INSTANCE), refused: failure, took };
    metrics::request(&answered);
    let (method, path) = (&session.req_header().method, session.req_header().uri.path());
    let principal = context.principal.as_ref().and_then(Principal::name);
    let (trace, error) = (context.trace, error.map(tracing::field::display));
    match edge.filter(|edge| edge.options().access_log == AccessLog::On) {
        Some(edge) => tracing::info!(
            target: "access",
            %trace,
            transaction = header(session, &TRANSACTION_ID),
            client = forwarded::client_of(session, &edge.options().entrance.trusted),
            principal,
            %method,
            path,
            status,
            operation,
            outcome = answered.outcome(),
            instance = answered.instance,
            failure,
            sent_bytes = session.body_bytes_sent(),
            millis = took.as_secs_f64() * 1000.0,
            error,
            "request"
        ),
        None => {
            let millis = took.as_millis();
            tracing::debug!(%trace, principal, %method, path, status, operation, failure, millis, error, "request");
        }
    }
}

/// Returns a header of the answer, if it is text. The access log shows which instance answered, and which transaction
/// it was.
fn header<'a>(session: &'a Session, name: &HeaderName) -> Option<&'a str> {
    session.response_written()?.headers.get(name)?.to_str().ok()
}
