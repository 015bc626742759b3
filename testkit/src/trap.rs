//! A mark in a request that makes it kill the server, or makes it fail: what a link looks for, and what it does when it
//! finds it.
//!
//! The mark may stand anywhere in the request, and may arrive in two pieces. The text before it, back to the last
//! quotation mark, names the request.

use std::fmt;
use std::sync::Arc;

/// The longest name and mark together.
const LONGEST: usize = 96;

/// What happens to a request with the mark. Its server never receives the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The callback kills the server. From then on the server is dead for the link.
    Kill,
    /// It is answered in place of the server, as a Chroma that fails without an explanation would.
    Fail,
}

/// One mark.
#[derive(Clone)]
pub struct Trap {
    pub mark: String,
    pub deed: Deed,
    /// Called with the request's name before anything else happens.
    pub told: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("mark", &self.mark).field("deed", &self.deed).finish_non_exhaustive()
    }
}

/// The last bytes that passed on one connection.
#[derive(Debug, Default)]
pub(crate) struct Passed(Vec<u8>);

impl Passed {
    /// Returns the trap whose mark these bytes contain, together with what passed before them, and the request's name.
    pub(crate) fn steps_into<'a>(&mut self, traps: &'a [Trap], piece: &[u8]) -> Option<(&'a Trap, String)> {
        if traps.is_empty() {
            self.0.clear();
            return None;
        }
        self.0.extend_from_slice(piece);
        let met = traps.iter().find_map(|trap| Some((trap, name(&self.0, trap.mark.as_bytes())?)));
        let old = self.0.len().saturating_sub(LONGEST);
        self.0.drain(..old);
        met
    }
}

fn name(bytes: &[u8], mark: &[u8]) -> Option<String> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    let before = bytes[..at].rsplit(|byte| *byte == b'"').next().unwrap_or_default();
    Some(String::from_utf8_lossy(before).into_owned())
}

/// Returns an unexplained failure in Chroma's form.
pub(crate) fn failure() -> String {
    let body = r#"{"error":"InternalError","message":"something that nobody has thought of"}"#;
    let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
