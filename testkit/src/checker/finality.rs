//! Every transaction is final at the end of the run: settled, and shown with a final status that agrees with its
//! verdict (G2, G9, G10).

use super::history::{Entry, Semantics, Status, Verdict};
use super::index::Index;
use super::verdict::{Breach, Violation};

pub fn check<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    index.run.journal.iter().filter_map(|entry| judge(index, entry)).collect()
}

fn judge<M: Semantics>(index: &Index<'_, M>, entry: &Entry<M::Write>) -> Option<Violation> {
    let told = index.acknowledged(entry).is_some();
    let (breach, what) = match (entry.verdict, entry.status) {
        (Verdict::Open, _) => (Breach::NotSettled, "has no verdict, and all is over"),
        (_, Status::Abandoned) if told => (Breach::AcknowledgedAbandoned, "was acknowledged, and is ABANDONED"),
        (_, Status::Pending) => (Breach::WrongStatus, "is settled, and its status is still ATTEMPTING or FAILED"),
        (Verdict::Applied, Status::Abandoned) => (Breach::WrongStatus, "is applied, and its status is ABANDONED"),
        (
            Verdict::Applied | Verdict::Rejected | Verdict::Void | Verdict::Quarantined,
            Status::Done | Status::Abandoned,
        ) => return None,
    };
    Some(index.about(breach, entry, what.to_owned()))
}
