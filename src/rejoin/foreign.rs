//! Deals with a foreign server (rule R16): it is left alone, or wiped once an operator or the configuration asks for
//! that and it is proven to be a server of its own.
//!
//! Decides when to wipe; [`proof`] and [`Board::lost_without`] decide whether. One server at a time: if two turn out to
//! be the same one, the second must find what the first has become.
//!
//! [`Board::lost_without`]: crate::order::Board::lost_without

use std::collections::HashMap;
use std::sync::{Mutex as Locked, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::RejoinOptions;
use super::error::InspectError;
use super::inspect::Inspector;
use super::marker::{self, Marked};
use super::wipe::Wipe;
use crate::clock;
use crate::coordinator::{Core, ForeignStage};
use crate::ids::InstanceId;
use crate::lasting::LastingStates;
use crate::order::{Duty, ForeignPolicy, Marker, Proof, Seen, Witness, proof};

/// The pause between two attempts, unless the settle time is longer.
const PAUSE: Duration = Duration::from_secs(5);

/// The foreign servers.
pub(super) struct Foreigners {
    begun: Instant,
    next: Locked<HashMap<InstanceId, Instant>>,
    one_at_a_time: Mutex<()>,
    /// For the log: those that could not be wiped.
    refused: LastingStates<(InstanceId, String)>,
}

/// Why a server is not wiped now.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Unproven(Proof),
    #[error(
        "no other server that is there serves {collections} collections, such as {example}: put the server's own data back, or wait \
         for the others"
    )]
    OnlyCopies { collections: usize, example: String },
    #[error("{0}")]
    Failed(#[from] InspectError),
}

impl Foreigners {
    /// `begun` is when this process started. Requests of an earlier process may still be executed until a settle time
    /// after that.
    pub fn new(begun: Instant) -> Foreigners {
        Foreigners { begun, next: Locked::default(), one_at_a_time: Mutex::new(()), refused: LastingStates::default() }
    }

    /// Wipes the instance's server, if that was asked for. The next inspection finds a blank one.
    pub async fn deal_with(&self, core: &Core, inspector: &Inspector, instance: InstanceId, options: &RejoinOptions) {
        // A deletion that was not answered may still be executed this much later.
        let pause = options.settle_time.max(PAUSE);
        let now = clock::now();
        // On a server that a drain has stopped, an operator is at work.
        if now < self.next_attempt(instance, pause) || core.board().duty(instance) == Duty::Stopped {
            return;
        }
        let Ok(_turn) = self.one_at_a_time.try_lock() else { return };
        let outcome = self.wipe(core, inspector, instance, options.foreign).await;
        let markers = core.discovery().markers();
        let over = |(of, _): &(InstanceId, String)| *of == instance;
        match outcome {
            Ok(Done::NotAsked) => {
                self.refused.ended_where(now, over);
            }
            Ok(Done::Wiped) => {
                self.refused.ended_where(now, over);
                markers.forget_word(instance);
            }
            Err(refusal) => {
                self.refused_for(core, (instance, pause), &refusal);
                // A confirmation is about the data that were there when it was given.
                if matches!(refusal, Refusal::Unproven(Proof::SameAs(_))) {
                    markers.forget_word(instance);
                }
            }
        }
    }

    fn next_attempt(&self, instance: InstanceId, pause: Duration) -> Instant {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.get(&instance).copied().unwrap_or(self.begun + pause)
    }

    fn refused_for(&self, core: &Core, (instance, pause): (InstanceId, Duration), refusal: &Refusal) {
        let (now, why) = (clock::now(), refusal.to_string());
        self.next.lock().unwrap_or_else(PoisonError::into_inner).insert(instance, now + pause);
        core.discovery().markers().note_stage(instance, ForeignStage::Refused(why.clone()));
        if let Some(times) = self.refused.seen((instance, why.clone()), now).times() {
            let instance = core.registry().name(instance);
            warn!(%instance, why, times, "somebody else's data on this server are not deleted");
        }
    }

    async fn wipe(
        &self,
        core: &Core,
        inspector: &Inspector,
        instance: InstanceId,
        policy: ForeignPolicy,
    ) -> Result<Done, Refusal> {
        let (markers, look) = (core.discovery().markers(), inspector.look(instance));
        // Without an answer, or without a marker, there is nothing to do yet.
        let Ok(Some((_, carries))) = marker::read(&look).await else { return Ok(Done::NotAsked) };
        let wipe = Wipe::of(core, inspector, instance, carries.clone());
        let asked = policy == ForeignPolicy::Rebuild || markers.is_to_be_wiped(instance) || wipe.has_begun().await;
        let Some(foreign) = markers.foreign(instance).filter(|_| asked) else { return Ok(Done::NotAsked) };
        let lost = core.board().lost_without(instance);
        if let Some(first) = lost.first() {
            return Err(Refusal::OnlyCopies { collections: lost.len(), example: first.to_string() });
        }
        match self.prove(core, inspector, instance, &carries).await? {
            Proof::Another => {}
            unproven => return Err(Refusal::Unproven(unproven)),
        }
        let doomed = wipe.doomed().await?;
        let (name, begun) = (core.registry().name(instance), clock::now());
        let (collections, records) = (doomed.collections(), doomed.records);
        warn!(instance = %name, %foreign, collections, records, "what this server holds is being deleted, as was asked for");
        wipe.run(doomed).await?;
        let seconds = begun.elapsed().as_secs_f64();
        info!(instance = %name, collections, seconds, "this server is blank now, and gets everything from the others");
        Ok(Done::Wiped)
    }

    /// Marks every other server again, and checks whether this one still carries the same marker.
    async fn prove(
        &self,
        core: &Core,
        inspector: &Inspector,
        instance: InstanceId,
        before: &Marker,
    ) -> Result<Proof, InspectError> {
        let (registry, markers) = (core.registry(), core.discovery().markers());
        let mut witnesses = Vec::new();
        for other in registry.ids().filter(|other| *other != instance) {
            let through = core.board().settled_through(other);
            let marked = registry.usable(other) && inspector.mark(other, through).await == Marked::Done;
            let seen = match markers.marked(other) {
                Some(generation) if marked => Seen::Marked(generation),
                Some(_) => Seen::MarkedBefore,
                None => Seen::NeverMarked,
            };
            witnesses.push(Witness { name: registry.name(other).clone(), seen });
        }
        let after = marker::read(&inspector.look(instance)).await?.map(|(_, marker)| marker);
        Ok(proof(markers.journal(), before, after.as_ref(), &witnesses))
    }
}

/// The outcome of an attempt.
enum Done {
    NotAsked,
    Wiped,
}
