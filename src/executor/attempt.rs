//! One request to one instance: its time limit, the meaning of its answer, and the report to the registry.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::patience::Patience;
use super::resources::Resources;
use crate::chroma::{self, Class, EdgeAnswer};
use crate::clock;
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq, TraceContext, TraceId};
use crate::instance::{Answer, Client, Licence, Observation, Outgoing, Phase, Refused, SendError, Sent, Wait};
use crate::order::{Health, Outcome, Purpose, Repeat, Retry};
use crate::proof::{self, CrashPoint};
use crate::traces::TRACEPARENT;

/// Who sends what for whom.
pub(super) struct Attempt<'a> {
    pub core: &'a Core,
    pub resources: &'a Resources,
    pub client: &'a Client,
    /// Whose content it may change: the entry's lane, and for a catalog entry the lane of its collection.
    pub lanes: &'a [LaneId],
    /// The first of the entries, and its lane.
    pub entry: (LaneId, Seq),
    pub instance: InstanceId,
    pub purpose: Purpose,
    pub repeat: Repeat,
    pub patience: Patience,
    /// What the first entry's request is called: so is what is sent for it.
    pub trace: Option<TraceId>,
    /// Its place in a distributed trace, if it has one.
    pub context: Option<TraceContext>,
}

/// The outcome of an attempt, with the answer that led to it.
pub(super) struct Attempted {
    pub outcome: Outcome,
    pub answer: Option<Arc<Answer>>,
    /// How it failed, if the instance was believed healthy and the write has no verdict yet. A replicated one has been
    /// answered already.
    pub failure: Option<String>,
    /// Why nothing was sent, where it is the edge's own doing.
    pub held_back: Option<&'static str>,
}

impl Attempted {
    pub fn of(outcome: Outcome, answer: Option<Answer>) -> Self {
        Attempted { outcome, answer: answer.map(Arc::new), failure: None, held_back: None }
    }

    /// Nothing was sent, and at once it would not go better.
    pub fn not_sent(reason: &'static str) -> Self {
        let ended = Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None);
        Attempted { held_back: Some(reason), ..ended }
    }

    /// The edge's own verdict, in Chroma's words.
    pub fn by_the_edge(outcome: Outcome, answer: EdgeAnswer) -> Self {
        Attempted::of(outcome, Some(own(answer)))
    }
}

/// An answer of the edge's own as an instance would have given it.
pub(super) fn own(answer: EdgeAnswer) -> Answer {
    let mut headers = HeaderMap::new();
    if !answer.body.is_empty() {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Answer { status: answer.status, headers, body: Bytes::from(answer.body.into_owned()) }
}

impl Attempt<'_> {
    /// The collection's id on this instance.
    pub fn mapping(&self, collection: CollectionId) -> Option<InstanceCollectionId> {
        self.core.board().catalog().mapping(collection, self.instance)
    }

    /// Sends it once, while the lease lasts. `Err` is the whole attempt's end: nothing sent, or in doubt.
    ///
    /// A crash while this waits leaves the entries in doubt on this instance: they are re-sent first.
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Answer, Attempted> {
        let outgoing = &*self.traced(outgoing);
        let before = self.core.registry.phase(self.instance);
        let sending = self.core.lease.sending();
        let worth = |elapsed| {
            elapsed < self.patience.with_another || !self.core.another_stands_ready(self.entry, self.instance)
        };
        let wait = Wait { attempt: self.patience.attempt, answer: self.patience.longest, worth: &worth };
        let sent = self.client.send(self.instance, outgoing, wait, Licence::Lease(&sending)).await;
        if matches!(sent, Err(SendError::LeaseEnded(Sent::Whole))) {
            // Before it stops to count as being sent: the end of this edge waits for that, and reads the notes then.
            self.resources.late_writes.note(self.lanes, self.instance);
        }
        drop(sending);
        if sent.is_ok() {
            proof::pass(CrashPoint::AfterAnswer);
        }
        self.sent(sent, before)
    }

    fn traced<'a>(&self, outgoing: &'a Outgoing) -> Cow<'a, Outgoing> {
        if self.trace.is_none() && self.context.is_none() {
            return Cow::Borrowed(outgoing);
        }
        let value = |text: String| HeaderValue::from_str(&text).ok();
        let mut outgoing = outgoing.clone();
        let trace = self.trace.and_then(|trace| value(trace.to_string()));
        outgoing.headers.extend(trace.map(|value| (chroma::TRACE_ID, value)));
        let context = self.context.and_then(|context| value(context.to_string()));
        outgoing.headers.extend(context.map(|value| (TRACEPARENT, value)));
        Cow::Owned(outgoing)
    }

    /// Sends what changes nothing: it needs no lease.
    pub async fn read(&self, outgoing: &Outgoing) -> Result<Answer, Attempted> {
        let outgoing = &*self.traced(outgoing);
        let before = self.core.registry.phase(self.instance);
        let sent = self.client.send(self.instance, outgoing, self.patience.attempt, Licence::NotNeeded).await;
        self.sent(sent, before)
    }

    fn sent(&self, sent: Result<Answer, SendError>, before: Phase) -> Result<Answer, Attempted> {
        match sent {
            Ok(answer) => {
                self.resources.warmed.answered(self.instance, clock::now());
                Ok(answer)
            }
            Err(SendError::LeaseEnded(sent)) => Err(Attempted::of(without_lease(sent), None)),
            Err(error) => {
                self.resources.warmed.lost(self.instance);
                Err(self.failed(error, before))
            }
        }
    }

    /// A request without an effect of its own, within an attempt.
    pub async fn get(&self, path: String) -> Result<Answer, Attempted> {
        self.read(&Outgoing::get(path)).await
    }

    fn failed(&self, error: SendError, before: Phase) -> Attempted {
        let name = self.core.registry.name(self.instance);
        // What is sent at all is sent to an instance that is believed to answer, preferred or not.
        let failure = before.usable().then(|| format!("{name}: {error}"));
        if before.usable() {
            // What comes back on the other end of a lost connection may be a blank server.
            self.core.doubt_contents(self.instance);
        }
        let outcome = match error {
            SendError::NotSent { refused: Refused::Yes, .. } => Outcome::NotSent { retry: Retry::Immediately },
            SendError::NotSent { .. } => Outcome::NotSent { retry: Retry::AfterBackoff },
            SendError::InDoubt { .. } | SendError::TooLong { .. } => {
                let gone = !self.core.registry.usable(self.instance);
                Outcome::InDoubt { instance_was: if gone { Health::Gone } else { Health::Healthy } }
            }
            SendError::LeaseEnded(sent) => without_lease(sent),
        };
        let failure = failure.filter(|_| self.purpose == Purpose::Execute);
        Attempted { failure, ..Attempted::of(outcome, None) }
    }

    /// It answered, hence it is there, and did not do what it was asked.
    pub fn failure(&self, answer: &Answer) -> Option<String> {
        let name = self.core.registry.name(self.instance);
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.chars().take(200).collect();
        (self.purpose == Purpose::Execute).then(|| format!("{name} answered {}: {text}", answer.status))
    }

    /// Tells the registry what kind of answer the instance gave.
    pub fn observe(&self, class: Class, answer: &Answer) {
        let seen = match class {
            Class::Applied | Class::Rejected => Observation::Answered,
            Class::Broken => Observation::Broken,
            // It says nothing of the server's write path, only that the server was not reached.
            Class::Gateway => Observation::Unanswered,
            // A failure of unknown cause says nothing of the instance: the write that follows it does (rule R12).
            Class::Failed | Class::Transient | Class::Unfit => return,
        };
        if seen == Observation::Answered {
            return self.core.registry.observe(self.instance, seen);
        }
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        self.core.registry.observe_because(self.instance, seen, &format!("answered {}: {text}", answer.status));
    }
}

/// What a write without a lease came to: not the instance's doing, so it counts for nothing there.
fn without_lease(sent: Sent) -> Outcome {
    match sent {
        Sent::Nothing => Outcome::NotSent { retry: Retry::AfterBackoff },
        Sent::Part | Sent::Whole => Outcome::InDoubt { instance_was: Health::Gone },
    }
}

/// What an answer of this class means for the lane.
pub(super) fn judge(
    attempt: &Attempt<'_>,
    class: Class,
    answer: Answer,
    applied: impl FnOnce(&Answer) -> Outcome,
    about: Option<CollectionId>,
) -> Attempted {
    attempt.observe(class, &answer);
    let failure = match class {
        Class::Transient | Class::Broken | Class::Gateway | Class::Failed => attempt.failure(&answer),
        Class::Applied | Class::Rejected | Class::Unfit => None,
    };
    let outcome = match class {
        Class::Applied => applied(&answer),
        Class::Rejected => Outcome::Rejected { about },
        Class::Transient => Outcome::NotSent { retry: Retry::AfterBackoff },
        Class::Broken | Class::Gateway => Outcome::InDoubt { instance_was: Health::Healthy },
        Class::Failed => Outcome::Failed { signature: chroma::signature(answer.status, &answer.body), about },
        Class::Unfit => Outcome::Unfit,
    };
    Attempted { failure, ..Attempted::of(outcome, Some(answer)) }
}
