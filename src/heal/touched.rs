//! Which records may have been changed by what entered the lane while a copy was compared.

use std::collections::BTreeSet;

use super::error::HealError;
use crate::chroma;
use crate::coordinator::Core;
use crate::ids::Seq;
use crate::order::Kind;

/// How many requests are read from the journal at once.
const READ: usize = 256;

/// The records that some entries may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    pub written: BTreeSet<String>,
    /// Deleted by their ids.
    pub deleted: BTreeSet<String>,
    /// How many deletes selected their records in another way. Only the lists of ids show those records.
    pub unnamed: usize,
}

/// Reads from the bodies of these entries which records they may have changed.
pub(super) async fn touched(core: &Core, seqs: &[Seq]) -> Result<Touched, HealError> {
    let mut touched = Touched::default();
    for some in seqs.chunks(READ) {
        let requests = core.store().requests(some).await.map_err(|error| HealError::Journal(error.to_string()))?;
        if requests.len() < some.len() {
            return Err(HealError::TooBusy);
        }
        for request in requests {
            touched.note(request.profile.kind, &request.body);
        }
    }
    Ok(touched)
}

impl Touched {
    /// A body that cannot be read was rejected by every instance.
    fn note(&mut self, kind: Kind, body: &[u8]) {
        let ids = chroma::ids_in(body);
        match kind {
            Kind::Delete | Kind::DeleteLimited if ids.is_empty() => self.unnamed += 1,
            Kind::Delete | Kind::DeleteLimited => self.deleted.extend(ids),
            _ => self.written.extend(ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_bodies() {
        let mut touched = Touched::default();
        touched.note(Kind::Upsert, br#"{"ids":["a","b"],"embeddings":[[1e400]],"limit":null}"#);
        touched.note(Kind::Delete, br#"{"where":{"k":1}}"#);
        touched.note(Kind::DeleteLimited, br#"{"ids":["c"],"where":null}"#);
        touched.note(Kind::Add, b"nonsense");
        assert_eq!(touched.unnamed, 1);
        assert_eq!(touched.written.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(touched.deleted.into_iter().collect::<Vec<_>>(), ["c"]);
    }
}
