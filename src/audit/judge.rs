//! Decides which of two copies is wrong, if the journal shows it.

use super::contents::Difference;
use super::fold::{Beginning, Fold};
use crate::coordinator::Core;
use crate::heal::Embeddings;
use crate::ids::{CollectionId, LaneId, Seq};
use crate::order::{Origin, Verdict};

/// How many entries are read from the journal at once: each may be as long as a request.
const ENTRIES: u32 = 8;

/// One of the two copies of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhichCopy {
    First,
    Second,
}

/// Returns the copy that contradicts the journal in each of these records, if the other one does so in none. `None`:
/// nothing shows which one is wrong, or not for each record. What only the wrong copy holds would be lost with it.
///
/// # Errors
/// If the journal cannot be read.
pub(super) async fn wrong_copy(
    core: &Core,
    collection: CollectionId,
    (differences, at): (&[Difference], Seq),
    embeddings: Embeddings,
) -> Result<Option<WhichCopy>, String> {
    let fold = fold(core, collection, differences, at).await?;
    Ok(judge(differences, &fold, embeddings))
}

fn judge(differences: &[Difference], fold: &Fold, embeddings: Embeddings) -> Option<WhichCopy> {
    let wrong = |one: &Difference| {
        let expected = fold.of(&one.id);
        match [0, 1].map(|copy| expected.contradicts(one.shown[copy].as_ref(), embeddings)) {
            [true, false] => Some(WhichCopy::First),
            [false, true] => Some(WhichCopy::Second),
            _ => None,
        }
    };
    let first = wrong(differences.first()?)?;
    differences.iter().all(|one| wrong(one) == Some(first)).then_some(first)
}

/// Folds the journal's entries up to `at` into the records that differ.
async fn fold(core: &Core, collection: CollectionId, differences: &[Difference], at: Seq) -> Result<Fold, String> {
    let created = {
        let board = core.board();
        board.catalog().get(collection).is_some_and(|known| known.origin == Origin::Created)
    };
    let lane = LaneId::Records(collection);
    let page = async |after| core.store().history(lane, after, ENTRIES).await.map_err(|error| error.to_string());
    let mut history = page(Seq::ZERO).await?;
    let beginning = if created && history.floor == Seq::ZERO { Beginning::Kept } else { Beginning::Lost };
    let mut fold = Fold::new(differences.iter().map(|difference| difference.id.clone()), beginning);
    let mut after = Seq::ZERO;
    while let Some((last, _)) = history.entries.last() {
        // The entries between the last one that was read and the floor are gone: they are unknown.
        if history.floor > last.seq || (after > Seq::ZERO && history.floor > after) {
            return Err("retention has removed entries meanwhile".to_owned());
        }
        after = last.seq;
        for (request, verdict) in &history.entries {
            if *verdict == Some(Verdict::Applied) && request.seq <= at {
                fold.apply(request.profile.kind, &request.body);
            }
        }
        history = page(after).await?;
    }
    Ok(fold)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::heal::{Record, records_of};
    use crate::order::Kind;

    fn record(id: &str, number: f32) -> Option<Record> {
        let answer = json!({ "ids": [id], "embeddings": [[number]], "documents": [null], "metadatas": [null] });
        records_of(answer.to_string().as_bytes()).unwrap().pop()
    }

    fn fold() -> Fold {
        let mut fold = Fold::new(["a", "b"].map(str::to_owned).into_iter(), Beginning::Lost);
        fold.apply(Kind::Upsert, json!({ "ids": ["a"], "embeddings": [[1.0]] }).to_string().as_bytes());
        fold
    }

    fn judged(differences: &[Difference]) -> Option<WhichCopy> {
        judge(differences, &fold(), Embeddings::Exact)
    }

    #[test]
    fn the_copy_is_wrong_that_alone_contradicts_the_journal() {
        let tampered = Difference { id: "a".to_owned(), shown: [record("a", 1.0), record("a", 2.0)] };
        let lost = Difference { id: "a".to_owned(), shown: [None, record("a", 1.0)] };
        let unknown = Difference { id: "b".to_owned(), shown: [record("b", 1.0), record("b", 2.0)] };
        assert_eq!(judged(std::slice::from_ref(&tampered)), Some(WhichCopy::Second));
        assert_eq!(judged(std::slice::from_ref(&lost)), Some(WhichCopy::First));
        assert_eq!(judged(std::slice::from_ref(&unknown)), None);
        assert_eq!(judged(&[unknown, tampered]), None, "what only the wrong copy holds would be lost");
        let both = Difference { id: "a".to_owned(), shown: [record("a", 3.0), record("a", 2.0)] };
        assert_eq!(judged(&[both]), None, "neither is what was written");
    }
}
