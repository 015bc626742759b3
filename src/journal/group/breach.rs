//! What the task does instead, where G1 is broken on purpose (`crate::proof`): nothing of it is reached otherwise.
//!
//! Writes enter their lanes, and their callers go on, under the positions that they are going to have; they become
//! durable some time later. Whatever ends the process in between takes them with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::queue::{Facts, Taken};
use super::{Appended, DurableSink};
use crate::ids::{LaneId, Seq};
use crate::journal::{Draft, Fact};
use crate::proof::{self, CrashPoint};

/// Long enough for an instance to execute a write and for its client to be answered.
const LATE: Duration = Duration::from_millis(200);

/// The last position that was given out; 0: unknown.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Whether the writes were handed on before their commit: not the first ones, whose positions nobody knows; not those
/// with an id of a client's among them, which may be a repetition and get no position; not those with one of the
/// catalog, which is executed as the journal has it; and not while a lane waits for its progress to be recorded, and
/// would execute nothing.
pub(super) async fn execute_first(sink: &dyn DurableSink, taken: &mut Taken) -> bool {
    let last = LAST.load(Ordering::SeqCst);
    if last == 0
        || taken.appends.is_empty()
        || !taken.facts.is_empty()
        || !taken.appends.iter().all(|waiting| is_plain(&waiting.draft))
    {
        return false;
    }
    let seqs: Vec<_> = (last + 1..).map(Seq::new).take(taken.appends.len()).collect();
    let entries = taken.appends.iter().zip(&seqs);
    sink.appended(entries.map(|(waiting, seq)| Appended { seq: *seq, draft: waiting.draft.clone() }).collect());
    for (waiting, seq) in taken.appends.iter_mut().zip(&seqs) {
        let reply = std::mem::replace(&mut waiting.reply, oneshot::channel().0);
        // The caller may have given up.
        let _ = reply.send(Ok(*seq));
    }
    tokio::time::sleep(LATE).await;
    // Where it has just become durable, if the rule is kept.
    proof::pass(CrashPoint::AfterAppend);
    true
}

fn is_plain(draft: &Draft) -> bool {
    let given = draft.transaction_id.to_string();
    draft.lane != LaneId::Catalog && draft.client_key.as_ref().is_none_or(|one| one.key == given)
}

/// A commit gave out these positions; an application's own operations take some that are reported to nobody.
pub(super) fn learn(seqs: &[Seq], facts: &[Facts]) {
    let unknown = facts.iter().flat_map(|group| &group.facts).any(|fact| matches!(fact, Fact::ApplicationBegan(_)));
    match seqs.last() {
        _ if unknown => LAST.store(0, Ordering::SeqCst),
        Some(last) => LAST.store(last.get(), Ordering::SeqCst),
        None => {}
    }
}
