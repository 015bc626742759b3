//! How a failed connection is described to people. Pingora's own text names each of its steps, with the address in
//! every one, and pages cut it off before they get to the cause.
//!
//! It decides nothing: the client decides whether a request was sent.

use pingora::{BError, Error, ErrorType};

/// Describes the failure, adding the system's or TLS's own text if it says more.
pub(super) fn in_words(error: &Error) -> String {
    let innermost = innermost(error);
    let (what, more) = match &innermost.etype {
        ErrorType::ConnectRefused => return "the connection was refused".to_owned(),
        ErrorType::ConnectTimedout => return "no connection in the time that it may take".to_owned(),
        ErrorType::TLSHandshakeTimedout => return "TLS was not agreed upon in time".to_owned(),
        ErrorType::ReadTimedout => return "no answer in the time that it may take".to_owned(),
        ErrorType::WriteTimedout => return "the request was not taken in time".to_owned(),
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
            ("TLS was not agreed upon", innermost.context.as_ref().map(ToString::to_string))
        }
        ErrorType::ConnectNoRoute => ("there is no way to it", cause(innermost)),
        ErrorType::ConnectError => ("no connection", cause(innermost)),
        ErrorType::ConnectionClosed => ("the connection was closed", cause(innermost)),
        ErrorType::ReadError => ("the connection broke before the answer", cause(innermost)),
        ErrorType::WriteError => ("the connection broke before the whole request was sent", cause(innermost)),
        // Pingora's own text, without the extra spaces of the parts it leaves out.
        _ => return error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    };
    more.map_or_else(|| what.to_owned(), |more| format!("{what}: {more}"))
}

/// Returns the innermost error, which the outer ones wrap.
fn innermost(error: &Error) -> &Error {
    let within = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<BError>());
    within.map_or(error, |within| innermost(within))
}

/// Returns the system's text. If there is none, Pingora puts this end's address there.
fn cause(error: &Error) -> Option<String> {
    let cause = error.cause.as_ref()?.to_string();
    (!cause.starts_with("local address")).then_some(cause)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Wraps an error the way Pingora's connectors do.
    fn wrapped(kind: ErrorType, cause: io::Error) -> String {
        let error = Error::because(kind, "Fail to connect to 127.0.0.1:1", cause);
        in_words(&error.more_context("Fail to connect to addr: 127.0.0.1:1, scheme: HTTP, sni: 127.0.0.1"))
    }

    #[test]
    fn the_cause_is_said_and_no_step_on_the_way() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(wrapped(ErrorType::ConnectRefused, refused), "the connection was refused");
        let unknown = Error::explain(ErrorType::TLSHandshakeFailure, "invalid peer certificate: UnknownIssuer");
        let mut unknown = unknown.more_context("on the way");
        assert_eq!(in_words(&unknown), "TLS was not agreed upon: invalid peer certificate: UnknownIssuer");
        unknown = Error::because(ErrorType::TLSHandshakeFailure, "UnknownIssuer", "local address 127.0.0.1:5");
        assert_eq!(in_words(&unknown), "TLS was not agreed upon: UnknownIssuer");
        let unreachable = io::Error::other("Network is unreachable");
        assert_eq!(wrapped(ErrorType::ConnectError, unreachable), "no connection: Network is unreachable");
        assert_eq!(wrapped(ErrorType::ConnectError, io::Error::other("local address 127.0.0.1:5")), "no connection");
        let closed = Error::new(ErrorType::ConnectionClosed);
        assert_eq!(in_words(&closed), "the connection was closed");
        let status = Error::explain(ErrorType::HTTPStatus(503), "during the probe");
        assert_eq!(in_words(&status), status.to_string().trim());
    }
}
