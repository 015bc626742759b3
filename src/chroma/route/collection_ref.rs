//! A collection as named in a client's path: the segment's text, and the id that it spells, if any.
//!
//! It decides which spellings are ids. The catalog decides whether a collection has that id, or has it as its name.

use uuid::Uuid;

/// The decoded path segment that names a collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CollectionRef(String);

impl CollectionRef {
    /// Creates a reference with this decoded text.
    pub fn new(text: impl Into<String>) -> Self {
        CollectionRef(text.into())
    }

    /// The client's text, percent-decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id that this spells, in any spelling that Chroma accepts: any case, without dashes, in `{braces}`
    /// around dashes, or after a lower-case `urn:uuid:`.
    pub fn as_id(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_chroma_accepts() {
        let id = "f025cd64-1cfa-4b0f-aa15-3309d39f1be4";
        let simple = id.replace('-', "");
        let accepted =
            [id.to_owned(), id.to_uppercase(), simple.clone(), format!("{{{id}}}"), format!("urn:uuid:{id}")];
        for text in accepted {
            assert_eq!(CollectionRef::new(text.as_str()).as_id().map(|u| u.to_string()).as_deref(), Some(id), "{text}");
        }
        let refused =
            [format!("URN:UUID:{id}"), format!("{{{simple}}}"), format!(" {id}"), "alpha".into(), String::new()];
        for text in refused {
            assert_eq!(CollectionRef::new(text.as_str()).as_id(), None, "{text}");
        }
    }
}
