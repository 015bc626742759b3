//! Checks whether the class of a request is suspect or quarantined: a write before the journal, a read before it is
//! sent (rule R13).
//!
//! Only requests that are not vouched for are checked. The verdicts come from the board, and those on reads from the
//! rules in `order`.

use super::failure::{Failure, Refused};
use super::vouch::Vouch;
use crate::coordinator::Core;
use crate::ids::{LaneId, Seq};
use crate::journal::Draft;
use crate::order::{ReadSubject, Refusal, Standing, Vouching};

/// Lets the write pass, unless it resembles one that killed an instance, or may have.
///
/// # Errors
/// The suspect or quarantined request that it resembles.
pub(super) async fn check(core: &Core, vouch: &Vouch, draft: &Draft) -> Result<(), Failure> {
    let profile = &draft.profile;
    if profile.vouching == Vouching::Vouched {
        return Ok(());
    }
    let refusal = core.board().refusal(draft.lane, profile.class());
    if let Some(refusal) = refusal {
        return Err(Failure::Quarantine(named(core, refusal).await));
    }
    let LaneId::Records(collection) = draft.lane else { return Ok(()) };
    match vouch.refuses_write(collection, profile.conditions) {
        Some((case, standing)) => Err(Failure::Quarantine(Refused::read(case, standing))),
        None => Ok(()),
    }
}

/// Refuses a read that must wait for the verdict on a write, or whose condition is that of a quarantined write.
///
/// # Errors
/// The suspect or quarantined request that it resembles.
pub(super) fn by_writes(core: &Core, subject: ReadSubject) -> Result<(), Failure> {
    let (conditions, lane) = (subject.class.conditions, LaneId::Records(subject.collection));
    let board = core.board();
    let convicted = || board.read_refusal(lane, conditions).filter(|_| conditions.is_searching());
    let refusal = board.holds_back(subject.collection, conditions).or_else(convicted);
    drop(board);
    match refusal {
        Some(refusal) => {
            let (standing, seq) = answer_of(refusal);
            Err(Failure::Quarantine(Refused::write(format!("journal position {seq}"), standing)))
        }
        None => Ok(()),
    }
}

const fn answer_of(refusal: Refusal) -> (Standing, Seq) {
    match refusal {
        Refusal::Suspect { seq } => (Standing::Suspect, seq),
        Refusal::Quarantined { seq } => (Standing::Quarantined, seq),
    }
}

/// Names the write by its transaction, if the journal can be read.
async fn named(core: &Core, refusal: Refusal) -> Refused {
    let (standing, seq) = answer_of(refusal);
    let listed = match standing {
        Standing::Quarantined => core.store().quarantines().await.unwrap_or_default(),
        Standing::Suspect => Vec::new(),
    };
    let found = listed.iter().find(|row| row.transaction.seq == seq);
    let id = found.map_or_else(|| format!("journal position {seq}"), |row| row.transaction.transaction_id.to_string());
    Refused::write(id, standing)
}
