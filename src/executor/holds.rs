//! How a hold is carried out: a task that waits, and then lets the board go on; and how what it is measured by is noted.
//!
//! Whether anything is held is the board's decision, how long `gather.rs` knows.

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

/// Waits for writers of the lane as long as that pays, in a task of its own if it does. Then the board goes on. A crash
/// meanwhile costs nothing: what is durable is sent after the next start.
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

/// Holds what is replicated to the instance as long as that pays, in a task of its own if it does. Then the board goes on. A
/// crash meanwhile costs nothing: what is durable is replicated after the next start.
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

/// A request of records was applied: what it took is measured, and shown.
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

/// What a request is to the instance that executes it, for the metric.
const fn label(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Execute => "first",
        Purpose::Replicate | Purpose::ExpectRefusal => "replicated",
    }
}
