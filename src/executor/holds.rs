//! Carries out a hold: a task waits, and then lets the board go on. Also notes what the waits are based on.
//!
//! The board decides whether to hold; `gather.rs` decides how long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gather::Begun;
use super::resources::Resources;
use crate::clock;
use crate::coordinator::Core;
use crate::ids::{InstanceId, LaneId, Seq};
use crate::journal::Request;
use crate::metrics;
use crate::order::{Input, Purpose};

/// Waits for writers of the lane for as long as that pays, in a task of its own if it does. Then the board goes on. A
/// crash meanwhile costs nothing: durable writes are sent after the next start.
#[allow(
    clippy::disallowed_methods,
    reason = "at most one task for each answer to a busy lane: it ends after a small part of what a request takes"
)]
pub(super) fn await_writers(
    core: &Arc<Core>,
    resources: &Arc<Resources>,
    (lane, instance): (LaneId, InstanceId),
    after: Seq,
    writers: u32,
) {
    let begun = resources.gathering.begin((lane, instance), after, writers, clock::now());
    let Some(Begun { span, all_came }) = begun else {
        return core.step(Input::WritersAwaited { lane, after });
    };
    let (core, resources, guard) = (Arc::clone(core), Arc::clone(resources), core.ends_with_a_panic(Some(lane)));
    tokio::spawn(async move {
        let _guard = guard;
        let _ = tokio::time::timeout(span, all_came.notified()).await;
        if let Some(came) = resources.gathering.end(lane, after, clock::now()) {
            metrics::hold(came);
        }
        if core.board().expects_after(lane) == Some(after) {
            core.step(Input::WritersAwaited { lane, after });
        }
    });
}

/// Holds replication to the instance for as long as that pays, in a task of its own if it does. Then the board goes on.
/// A crash meanwhile costs nothing: durable writes are replicated after the next start.
#[allow(
    clippy::disallowed_methods,
    reason = "at most one task for each busy lane and instance: it ends after batching.replica_lag"
)]
pub(super) fn await_more(
    core: &Arc<Core>,
    resources: &Arc<Resources>,
    (lane, instance): (LaneId, InstanceId),
    leader: InstanceId,
    from: Seq,
) {
    let span = resources.gathering.trailing((lane, leader));
    if span == Duration::ZERO {
        return core.step(Input::MoreAwaited { lane, instance, from });
    }
    let (core, guard) = (Arc::clone(core), core.ends_with_a_panic(Some(lane)));
    tokio::spawn(async move {
        let _guard = guard;
        tokio::time::sleep(span).await;
        if core.board().trails_since(lane, instance) == Some(from) {
            core.step(Input::MoreAwaited { lane, instance, from });
        }
    });
}

/// Measures an applied request of record writes, and updates the metrics.
pub(super) fn applied(
    resources: &Resources,
    place: (LaneId, InstanceId),
    requests: &[Request],
    purpose: Purpose,
    began: Instant,
) {
    let now = clock::now();
    resources.gathering.took(place, began, now);
    metrics::writes_sent(label(purpose), requests.len());
    let Some(first) = requests.first().map(|request| request.seq) else { return };
    match purpose {
        Purpose::Execute => resources.gathering.executed(first, now),
        Purpose::Replicate | Purpose::ExpectRefusal => {
            resources.gathering.replicated(first, now).into_iter().for_each(metrics::replicated);
        }
    }
}

/// Returns the metric's label for a request of this purpose.
const fn label(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Execute => "first",
        Purpose::Replicate | Purpose::ExpectRefusal => "replicated",
    }
}
