//! A mark in a request that makes it deadly, or makes it fail: what a link looks for, and what it does when it finds it.
//!
//! The mark may stand anywhere in the request, and may arrive in two pieces. What stands before it, back to the last
//! quotation mark, names the request.

use std::fmt;
use std::sync::Arc;

/// The longest name and mark together.
const LONGEST: usize = 96;

/// What becomes of a request with the mark. Its server never gets it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Whoever is told kills the server: from then on it is dead for the link.
    Kill,
    /// It is answered in the server's stead, as by a Chroma that failed and does not say why.
    Fail,
}

/// One mark.
#[derive(Clone)]
pub struct Trap {
    pub mark: String,
    pub deed: Deed,
    /// Told the request's name, before anything else happens.
    pub told: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("mark", &self.mark).field("deed", &self.deed).finish_non_exhaustive()
    }
}

/// The end of what has passed on one connection.
#[derive(Debug, Default)]
pub(crate) struct Passed(Vec<u8>);

impl Passed {
    /// The trap that these bytes step into together with what passed before them, and what the request is called.
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

/// In Chroma's form, and explained by nothing.
pub(crate) fn failure() -> String {
    let body = r#"{"error":"InternalError","message":"something that nobody has thought of"}"#;
    let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\nconnection: close";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
