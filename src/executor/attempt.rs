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

/// One attempt: the entries it is for, the instance, and what is needed to send.
pub(super) struct Attempt<'a> {
    pub core: &'a Core,
    pub resources: &'a Resources,
    pub client: &'a Client,
    /// The lanes whose content the attempt may change: the entry's own, and for a catalog entry also its collection's.
    pub lanes: &'a [LaneId],
    /// The lane, and the first of the entries.
    pub entry: (LaneId, Seq),
    pub instance: InstanceId,
    pub purpose: Purpose,
    pub repeat: Repeat,
    pub patience: Patience,
    /// The trace id of the first entry's request, sent along with every request of the attempt.
    pub trace: Option<TraceId>,
    /// The attempt's place in a distributed trace, if it has one.
    pub context: Option<TraceContext>,
}

/// The outcome of an attempt, with the answer that led to it.
pub(super) struct Attempted {
    pub outcome: Outcome,
    pub answer: Option<Arc<Answer>>,
    /// How the attempt failed. Set only if the instance was believed healthy and the write has no verdict yet: a
    /// replicated write has been answered already.
    pub failure: Option<String>,
    /// Why the edge itself held the request back, if it did.
    pub held_back: Option<&'static str>,
}

impl Attempted {
    pub fn of(outcome: Outcome, answer: Option<Answer>) -> Self {
        Attempted { outcome, answer: answer.map(Arc::new), failure: None, held_back: None }
    }

    /// Nothing was sent, and repeating the attempt at once would not help.
    pub fn not_sent(reason: &'static str) -> Self {
        let ended = Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None);
        Attempted { held_back: Some(reason), ..ended }
    }

    /// An outcome that the edge decides itself, with an answer worded like Chroma's.
    pub fn by_the_edge(outcome: Outcome, answer: EdgeAnswer) -> Self {
        Attempted::of(outcome, Some(own(answer)))
    }
}

/// Converts the edge's own answer to the form of an instance's answer.
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

    /// Sends the request once, while the lease lasts. `Err` ends the whole attempt: nothing was sent, or the request is
    /// in doubt.
    ///
    /// A crash during the wait leaves the entries in doubt on this instance. They are sent again first.
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
            // Noted before `sending` is dropped: the edge's shutdown waits for `sending`, and then reads the notes.
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

    /// Sends a request that changes nothing, and so needs no lease.
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

    /// Sends a GET as part of the attempt.
    pub async fn get(&self, path: String) -> Result<Answer, Attempted> {
        self.read(&Outgoing::get(path)).await
    }

    fn failed(&self, error: SendError, before: Phase) -> Attempted {
        let name = self.core.registry.name(self.instance);
        // A suspect instance counts, too: requests go only to instances believed to answer, preferred or not.
        let failure = before.usable().then(|| format!("{name}: {error}"));
        if before.usable() {
            // The server that answers after a lost connection may be a blank one.
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

    /// Describes the failure of an instance that answered, but did not do what it was asked.
    pub fn failure(&self, answer: &Answer) -> Option<String> {
        let name = self.core.registry.name(self.instance);
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.chars().take(200).collect();
        (self.purpose == Purpose::Execute).then(|| format!("{name} answered {}: {text}", answer.status))
    }

    /// Reports to the registry what kind of answer the instance gave.
    pub fn observe(&self, class: Class, answer: &Answer) {
        let seen = match class {
            Class::Applied | Class::Rejected => Observation::Answered,
            Class::Broken => Observation::Broken,
            // This says nothing about the server's write path, only that the server was not reached.
            Class::Gateway => Observation::Unanswered,
            // A failure of unknown cause says nothing about the instance. The check write that follows does (rule R12).
            Class::Failed | Class::Transient | Class::Unfit => return,
        };
        if seen == Observation::Answered {
            return self.core.registry.observe(self.instance, seen);
        }
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        self.core.registry.observe_because(self.instance, seen, &format!("answered {}: {text}", answer.status));
    }
}

/// The outcome of a write without a lease. It is not the instance's fault, so it does not count as a failure there.
fn without_lease(sent: Sent) -> Outcome {
    match sent {
        Sent::Nothing => Outcome::NotSent { retry: Retry::AfterBackoff },
        Sent::Part | Sent::Whole => Outcome::InDoubt { instance_was: Health::Gone },
    }
}

/// Judges what an answer of this class means for the lane.
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
