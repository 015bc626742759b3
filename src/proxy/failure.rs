//! Every way in which the edge itself refuses or fails a request, with its status, reason, retry advice and public
//! text. It decides no refusal, and Chroma's own answers never pass through here.

use crate::auth::Denied;
use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName, Feature, Overload, Recovery, Refusal};
use crate::ids::TransactionId;
use crate::order::{CaseId, Standing};
use crate::wire::Flaw;

/// The page that shows a transaction's outcome.
const OUTCOMES: &str = "/transaction/safety/transaction";
const LANE_HALTED: &str = "The write was refused and has no effect: this edge has failed twice in its lane and does \
    nothing there until an operator has looked; /admin/faults says why";

/// A request that the edge itself answers with an error.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The request's head or framing is not acceptable.
    BadHead(Flaw),
    /// The client has made more requests than it may.
    TooManyRequests {
        per_second: u32,
        /// How many seconds to wait before the next one.
        retry_seconds: u32,
    },
    /// The host name is not one of the edge's; perhaps a stranger's name that points at this edge.
    HostNotAllowed(String),
    /// A page of this origin sent the request.
    OriginNotAllowed(String),
    BodyTooLarge {
        limit: usize,
    },
    /// The body came in too slowly.
    BodyTooSlow,
    MemoryFull(Overload),
    QueueFull(Overload),
    QueueTooSlow(Overload),
    BacklogFull(Overload),
    /// The write's lane is halted, because the edge has had repeated faults in it.
    LaneHalted,
    JournalUnavailable(String),
    /// This edge is a standby; another one may serve.
    Standby(String),
    /// No edge can serve: the journal cannot be reached, and no other edge is known to hold it.
    NoJournal(String),
    /// The journal did not confirm whether the write is durable.
    JournalInDoubt(TransactionId, KeyOrigin),
    /// Journaled; no instance could take it in time.
    RecoveryPending(TransactionId, KeyOrigin),
    /// Journaled and sent, under an id that the edge made: it may have been executed, or will be.
    OutcomeUnknown(TransactionId),
    /// Journaled, never executed anywhere, and withdrawn.
    Withdrawn,
    /// Refused before the journal: the body must not reach an instance.
    Refused(Refusal),
    /// A read that makes Chroma close the connection without an answer.
    CrashesChroma(&'static str),
    /// `confirm` is the value that the confirming header must have.
    Protected {
        name: String,
        confirm: String,
    },
    ResetDisabled {
        confirm: String,
    },
    /// The principal is not allowed, or is unknown.
    Denied(Denied),
    /// Only some of the servers have this feature.
    UnevenServers(Feature),
    /// No server is supported, for this reason.
    UnsupportedServers(String),
    BadTransactionId,
    /// The same id was used for another request.
    TransactionIdReused,
    /// The first request with this id is still being executed.
    TransactionRunning(TransactionId),
    UnknownInstance(String),
    BadConsistency,
    NoFreshInstance,
    NoInstance,
    /// Every instance that could serve the request failed.
    InstancesFailed,
    InstanceTimedOut,
    /// The instance that executed the read has gone. The read is not sent to another one (rule R13).
    InstanceLost,
    /// The request's class is a suspect or quarantined (rule R13).
    Quarantine(Refused),
    /// An answer in Chroma's own words, given by the edge.
    Chroma(EdgeAnswer),
}

/// The suspect or quarantined case that a refused request resembles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub standing: Standing,
    /// The id listed at `/admin/quarantine`.
    pub id: String,
}

impl Refused {
    /// A write, by its transaction.
    pub const fn write(id: String, standing: Standing) -> Refused {
        Refused { standing, id }
    }

    /// A read that may be sent to this instance alone, but names another one.
    pub fn elsewhere(instance: &str) -> Refused {
        Refused { standing: Standing::Suspect, id: format!("it is to be tried on {instance} alone") }
    }

    /// A class of reads.
    pub fn read(case: CaseId, standing: Standing) -> Refused {
        Refused { standing, id: read_case(case) }
    }
}

/// A class of reads, as operators name it.
pub fn read_case(case: CaseId) -> String {
    format!("read-{}", case.0)
}

/// Who made a write's id. Only a client that made it can repeat the write as the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    Client,
    Edge,
}

/// When a refused request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    AfterSeconds(u32),
}

impl Failure {
    /// The label in metrics and the `reason` in the body.
    pub const fn reason(&self) -> &'static str {
        match self {
            Failure::BadHead(flaw) => flaw.reason(),
            Failure::TooManyRequests { .. } => "rate_limited",
            Failure::HostNotAllowed(_) => "host_not_allowed",
            Failure::OriginNotAllowed(_) => "origin_not_allowed",
            Failure::BodyTooLarge { .. } => "body_too_large",
            Failure::BodyTooSlow => "body_timeout",
            Failure::MemoryFull(_) => "memory_full",
            Failure::QueueFull(_) => "queue_full",
            Failure::QueueTooSlow(_) => "queue_timeout",
            Failure::BacklogFull(_) => "backlog_full",
            Failure::LaneHalted => "lane_halted",
            Failure::JournalUnavailable(_) | Failure::NoJournal(_) => "journal_unavailable",
            Failure::Standby(_) => "standby",
            Failure::JournalInDoubt(..) => "journal_in_doubt",
            Failure::RecoveryPending(..) => "no_instance_available",
            Failure::OutcomeUnknown(_) => "outcome_unknown",
            Failure::Withdrawn => "withdrawn",
            Failure::Refused(refusal) if refusal.is_ours() => refusal.reason(),
            Failure::Refused(_) => "refused_input",
            Failure::CrashesChroma(_) => "refused_input",
            Failure::Protected { .. } => "protected",
            Failure::ResetDisabled { .. } => "reset_disabled",
            Failure::Denied(denied) => denied.reason(),
            Failure::UnevenServers(_) => "uneven_servers",
            Failure::UnsupportedServers(_) => "unsupported_servers",
            Failure::BadTransactionId => "bad_transaction_id",
            Failure::TransactionIdReused => "transaction_id_reused",
            Failure::TransactionRunning(_) => "transaction_running",
            Failure::UnknownInstance(_) => "unknown_instance",
            Failure::BadConsistency => "bad_consistency",
            Failure::NoFreshInstance => "no_fresh_instance",
            Failure::NoInstance => "no_instance_available",
            Failure::InstancesFailed => "instances_failed",
            Failure::InstanceTimedOut => "instance_timeout",
            Failure::InstanceLost => "instance_lost",
            Failure::Quarantine(_) => "quarantine",
            Failure::Chroma(_) => "answered_by_edge",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Failure::BadHead(flaw) => flaw.status(),
            Failure::Refused(refusal) => refusal.answer().status,
            Failure::CrashesChroma(_)
            | Failure::UnevenServers(_)
            | Failure::BadTransactionId
            | Failure::BadConsistency
            | Failure::UnknownInstance(_) => 400,
            Failure::Protected { .. } | Failure::ResetDisabled { .. } | Failure::OriginNotAllowed(_) => 403,
            Failure::BodyTooSlow => 408,
            Failure::Denied(denied) => denied.status(),
            Failure::TransactionRunning(_) => 409,
            Failure::BodyTooLarge { .. } => 413,
            Failure::HostNotAllowed(_) => 421,
            Failure::TransactionIdReused => 422,
            Failure::TooManyRequests { .. } => 429,
            Failure::InstancesFailed | Failure::InstanceLost => 502,
            Failure::MemoryFull(_)
            | Failure::QueueFull(_)
            | Failure::QueueTooSlow(_)
            | Failure::BacklogFull(_)
            | Failure::LaneHalted
            | Failure::JournalUnavailable(_)
            | Failure::Standby(_)
            | Failure::NoJournal(_)
            | Failure::JournalInDoubt(..)
            | Failure::RecoveryPending(..)
            | Failure::OutcomeUnknown(_)
            | Failure::Withdrawn
            | Failure::UnsupportedServers(_)
            | Failure::NoFreshInstance
            | Failure::Quarantine(_)
            | Failure::NoInstance => 503,
            Failure::InstanceTimedOut => 504,
            Failure::Chroma(answer) => answer.status,
        }
    }

    /// When to try again or, for a pending write, when to look up its outcome.
    pub const fn retry(&self) -> Retry {
        match self {
            Failure::MemoryFull(_) | Failure::QueueFull(_) | Failure::QueueTooSlow(_) | Failure::NoFreshInstance => {
                Retry::AfterSeconds(1)
            }
            Failure::TransactionRunning(_) | Failure::Standby(_) => Retry::AfterSeconds(1),
            Failure::JournalUnavailable(_)
            | Failure::NoJournal(_)
            | Failure::JournalInDoubt(_, KeyOrigin::Client)
            | Failure::RecoveryPending(_, KeyOrigin::Client)
            | Failure::Withdrawn
            | Failure::NoInstance
            | Failure::InstancesFailed
            | Failure::InstanceTimedOut => Retry::AfterSeconds(5),
            Failure::TooManyRequests { retry_seconds, .. } => Retry::AfterSeconds(*retry_seconds),
            Failure::BacklogFull(_) => Retry::AfterSeconds(30),
            Failure::Quarantine(Refused { standing: Standing::Suspect, .. }) => Retry::AfterSeconds(5),
            _ => Retry::Never,
        }
    }

    /// The text for a request that was refused on arrival.
    fn text_at_the_door(&self) -> Option<String> {
        Some(match self {
            Failure::BadHead(flaw) => {
                format!("The request was not read, and its connection is closed: {}", flaw.text())
            }
            Failure::HostNotAllowed(host) => format!(
                "This edge does not answer to the name [{host}]: name it in edge.hosts in the configuration, or in HOSTS"
            ),
            Failure::OriginNotAllowed(origin) => format!(
                "A page of the origin [{origin}] may not use this edge: name it in edge.cors.origins in the configuration"
            ),
            Failure::BodyTooSlow => "The request's body came in too slowly".to_owned(),
            Failure::TooManyRequests { per_second, retry_seconds } => format!(
                "The request was refused and has no effect: this client makes more than {per_second} requests a second \
                 (limits.client_rate); try again in {retry_seconds} s"
            ),
            Failure::MemoryFull(_) => "Too many request bodies are in memory; try again shortly".to_owned(),
            Failure::QueueFull(_) => "Too many requests are waiting; try again shortly".to_owned(),
            Failure::QueueTooSlow(_) => "The request waited too long to be served; try again shortly".to_owned(),
            _ => return None,
        })
    }

    /// The text for the client.
    pub(super) fn text(&self) -> String {
        match self {
            Failure::BodyTooLarge { limit } => format!("Payload too large: the limit is {limit} bytes"),
            Failure::BacklogFull(_) => "Too many journaled writes wait for an instance that is away".to_owned(),
            Failure::LaneHalted => LANE_HALTED.to_owned(),
            Failure::JournalUnavailable(why) => format!("The write was refused and has no effect: {why}"),
            Failure::Standby(why) => why.clone(),
            Failure::NoJournal(why) => format!("This edge does not serve yet: {why}"),
            Failure::JournalInDoubt(_, KeyOrigin::Client) => "The journal did not confirm the write in time".to_owned(),
            Failure::JournalInDoubt(id, KeyOrigin::Edge) => format!(
                "perhaps journaled; if so, its outcome will be at {OUTCOMES}/{id}; look there before you send it again: \
                 the journal did not confirm the write in time"
            ),
            Failure::RecoveryPending(_, KeyOrigin::Client) => {
                "No instance could take the write in time; it is journaled and will be executed".to_owned()
            }
            // A stock client would send it again under a new id, and both would be executed.
            Failure::RecoveryPending(id, KeyOrigin::Edge) => format!(
                "journaled; its outcome will be at {OUTCOMES}/{id}; do not send it again: no instance could take the \
                 write in time, and it will be executed when one can"
            ),
            Failure::OutcomeUnknown(id) => format!(
                "journaled; its outcome will be at {OUTCOMES}/{id}; do not send it again: it was sent to an instance \
                 that has not answered, and it will be finished"
            ),
            Failure::Withdrawn => {
                "No instance could take the write in time; it was withdrawn and has no effect: send it again".to_owned()
            }
            Failure::Refused(refusal) => refusal.to_string(),
            Failure::CrashesChroma(why) => (*why).to_owned(),
            Failure::Protected { name, confirm } => format!(
                "Collection [{name}] is protected; to do this on purpose, send it as an admin with the header \
                 Chroma-Edge-Confirm: {confirm}, or remove it from edge.protection.collections in the configuration"
            ),
            Failure::ResetDisabled { confirm } => format!(
                "Reset is disabled by config; to do it on purpose, send it as an admin with the header \
                 Chroma-Edge-Confirm: {confirm}, or set edge.protection.allow_reset: true in the configuration"
            ),
            Failure::Denied(denied) => denied.to_string(),
            Failure::UnevenServers(feature) => {
                format!("Not every Chroma server behind this edge takes {feature}: see docs/compatibility.md")
            }
            Failure::UnsupportedServers(why) => {
                format!("The write was refused and has no effect: no server is supported: {why}")
            }
            Failure::BadTransactionId => "A transaction id is 1 to 255 visible ASCII characters".to_owned(),
            Failure::TransactionIdReused => "This transaction id was used for another request".to_owned(),
            Failure::TransactionRunning(_) => "The first request with this transaction id is still running".to_owned(),
            Failure::UnknownInstance(name) => format!("There is no instance named [{name}]"),
            Failure::BadConsistency => "Chroma-Edge-Consistency is `fresh` or `any`".to_owned(),
            Failure::NoFreshInstance => "No instance has every acknowledged write of this collection yet".to_owned(),
            Failure::NoInstance => "No instance is available".to_owned(),
            Failure::InstancesFailed => "Every instance failed to answer".to_owned(),
            Failure::InstanceTimedOut => "No instance answered in time".to_owned(),
            Failure::InstanceLost => {
                "The instance was lost while it executed the read, which may be the cause: it is not sent to another"
                    .to_owned()
            }
            Failure::Quarantine(Refused { standing: Standing::Suspect, id }) => format!(
                "An instance was lost while it executed a request of this kind ({id}); whether that was the cause will \
                 be known shortly"
            ),
            Failure::Quarantine(Refused { standing: Standing::Quarantined, id }) => format!(
                "A request of this kind cost an instance its life ({id}) and is refused for this collection until an \
                 operator lifts that: /admin/quarantine"
            ),
            // Chroma's answer has a text of its own.
            _ => self.text_at_the_door().unwrap_or_default(),
        }
    }

    const fn name(&self) -> ErrorName {
        match self {
            Failure::OriginNotAllowed(_) => ErrorName::AuthorizationError,
            Failure::BadHead(_)
            | Failure::Refused(_)
            | Failure::HostNotAllowed(_)
            | Failure::CrashesChroma(_)
            | Failure::UnevenServers(_)
            | Failure::BadTransactionId
            | Failure::BadConsistency
            | Failure::UnknownInstance(_) => ErrorName::InvalidArgumentError,
            Failure::TooManyRequests { .. }
            | Failure::QueueFull(_)
            | Failure::QueueTooSlow(_)
            | Failure::MemoryFull(_) => ErrorName::RateLimitError,
            Failure::Protected { .. } | Failure::ResetDisabled { .. } | Failure::TransactionIdReused => {
                ErrorName::ChromaError
            }
            // The names that the Python client maps to 401 and 403.
            Failure::Denied(denied) if denied.status() == 401 => ErrorName::AuthorizationError,
            Failure::Denied(_) => ErrorName::AuthError,
            _ => ErrorName::InternalError,
        }
    }

    /// The limits on concurrent requests, if the edge is overloaded.
    const fn overload(&self) -> Option<Overload> {
        match self {
            Failure::MemoryFull(overload)
            | Failure::QueueFull(overload)
            | Failure::QueueTooSlow(overload)
            | Failure::BacklogFull(overload) => Some(*overload),
            _ => None,
        }
    }

    /// The transaction that the answer names, and the expected recovery.
    const fn transaction(&self) -> Option<(TransactionId, Option<Recovery>)> {
        match self {
            Failure::RecoveryPending(id, _) => Some((*id, Some(Recovery::Pending))),
            Failure::JournalInDoubt(id, _) | Failure::OutcomeUnknown(id) => Some((*id, Some(Recovery::Unknown))),
            Failure::TransactionRunning(id) => Some((*id, None)),
            _ => None,
        }
    }

    /// The transaction that the answer names in its header.
    pub fn transaction_id(&self) -> Option<TransactionId> {
        self.transaction().map(|(id, _)| id)
    }

    /// The whole answer.
    pub fn answer(&self) -> EdgeAnswer {
        match self {
            Failure::Chroma(answer) => return answer.clone(),
            Failure::Refused(refusal) => return refusal.answer(),
            _ => {}
        }
        let mut body =
            ErrorBody::new(self.name(), self.text()).with_reason(self.reason()).with_overload(self.overload());
        if let Some((id, recovery)) = self.transaction() {
            body = body.with_transaction(id, recovery);
        }
        EdgeAnswer::error(self.status(), &body)
    }
}
