//! Every way in which these pages refuse a request, each mapped once to status, reason and text.

use http::header::RETRY_AFTER;

use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName, Recovery};
use crate::ids::TransactionId;
use crate::journal::{AppendError, ReadError};
use crate::web::Reply;

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(in crate::admin) enum Refusal {
    BadTransactionId,
    /// A query parameter that cannot be parsed.
    BadParameter {
        name: &'static str,
        expected: &'static str,
    },
    /// A body that cannot be parsed.
    BadBody(String),
    UnknownTransaction,
    /// Several tenants, or principals, have a transaction with this client's id.
    AmbiguousId,
    /// The transaction is a write, and only the edge can end it.
    NotAnApplicationOperation,
    /// The operation has already ended with another status.
    Final,
    /// The id was used for another request.
    Reused,
    /// The facts of this request were not journaled.
    JournalUnavailable(String),
    /// The journal cannot be read.
    JournalUnreadable(ReadError),
    /// A cleanup removed nothing.
    NotRemoved(String),
    /// The facts of this request may be durable.
    JournalInDoubt(TransactionId),
    /// Applications' own operations have used up their part of the journal.
    ApplicationsFull {
        limit: u64,
    },
    /// This client's operations have used up its share.
    ClientApplicationsFull {
        limit: u64,
    },
    TooManyWait,
    /// A stream of events is either for one session or for one transaction.
    OneOfTwo,
    TooManyStreams,
}

impl Refusal {
    const fn status(&self) -> u16 {
        match self {
            Refusal::BadTransactionId | Refusal::BadParameter { .. } | Refusal::BadBody(_) | Refusal::OneOfTwo => 400,
            Refusal::UnknownTransaction => 404,
            Refusal::AmbiguousId | Refusal::NotAnApplicationOperation | Refusal::Final => 409,
            Refusal::Reused => 422,
            Refusal::JournalUnavailable(_)
            | Refusal::JournalUnreadable(_)
            | Refusal::NotRemoved(_)
            | Refusal::JournalInDoubt(_)
            | Refusal::TooManyWait
            | Refusal::TooManyStreams => 503,
            Refusal::ApplicationsFull { .. } | Refusal::ClientApplicationsFull { .. } => 507,
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Refusal::BadTransactionId => "bad_transaction_id",
            Refusal::BadParameter { .. } => "bad_parameter",
            Refusal::BadBody(_) => "bad_body",
            Refusal::UnknownTransaction => "unknown_transaction",
            Refusal::AmbiguousId => "ambiguous_id",
            Refusal::NotAnApplicationOperation => "not_an_application_operation",
            Refusal::Final => "transaction_final",
            Refusal::Reused => "transaction_id_reused",
            Refusal::JournalUnavailable(_) | Refusal::JournalUnreadable(_) | Refusal::NotRemoved(_) => {
                "journal_unavailable"
            }
            Refusal::JournalInDoubt(_) => "journal_in_doubt",
            Refusal::ApplicationsFull { .. } => "applications_full",
            Refusal::ClientApplicationsFull { .. } => "client_applications_full",
            Refusal::TooManyWait => "queue_full",
            Refusal::OneOfTwo => "bad_parameter",
            Refusal::TooManyStreams => "too_many_streams",
        }
    }

    const fn name(&self) -> ErrorName {
        match self.status() {
            400 => ErrorName::InvalidArgumentError,
            404 => ErrorName::NotFoundError,
            409 | 422 => ErrorName::ChromaError,
            _ => ErrorName::InternalError,
        }
    }

    fn text(&self) -> String {
        match self {
            Refusal::BadTransactionId => "A transaction id is 1 to 255 visible ASCII characters".to_owned(),
            Refusal::BadParameter { name, expected } => format!("{name} is {expected}"),
            Refusal::BadBody(why) => why.clone(),
            Refusal::UnknownTransaction => "There is no transaction with this id".to_owned(),
            Refusal::AmbiguousId => {
                "Several tenants have a transaction with this id: say which, with ?tenant=, or use the id that the edge gave it"
                    .to_owned()
            }
            Refusal::NotAnApplicationOperation => {
                "The transaction is a write: the edge itself says how it ends".to_owned()
            }
            Refusal::Final => "The transaction has already ended with another status".to_owned(),
            Refusal::Reused => "This transaction id was used for another request".to_owned(),
            Refusal::JournalUnavailable(why) => format!("Nothing was journaled: {why}"),
            Refusal::JournalUnreadable(error) => format!("This cannot be answered now: {error}"),
            Refusal::NotRemoved(why) => format!("Nothing was removed: {why}"),
            Refusal::JournalInDoubt(_) => "The journal did not confirm in time".to_owned(),
            Refusal::ApplicationsFull { limit } => format!(
                "Nothing was journaled: applications' own operations take {limit} bytes, as much as they may \
                 (journal.application_bytes); end those that are open"
            ),
            Refusal::ClientApplicationsFull { limit } => format!(
                "Nothing was journaled: this client's own operations take {limit} bytes, as much as one client's may \
                 (journal.application_client_bytes); end those that are open"
            ),
            Refusal::TooManyWait => "Too many requests wait for a transaction; try again shortly".to_owned(),
            Refusal::OneOfTwo => "Give either ?client=SESSION or ?transaction=ID".to_owned(),
            Refusal::TooManyStreams => "Too many streams of events are open; try again shortly".to_owned(),
        }
    }

    fn recovery(&self) -> Option<Recovery> {
        matches!(self, Refusal::JournalInDoubt(_)).then_some(Recovery::Unknown)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Refusal::JournalUnreadable(error)
    }
}

impl Refusal {
    /// Maps a failed commit of facts about this transaction to a refusal.
    pub(super) fn of_record(error: AppendError, id: TransactionId) -> Refusal {
        match error {
            AppendError::Declined => Refusal::JournalUnavailable(error.to_string()),
            AppendError::Full => Refusal::JournalUnavailable("too many facts wait for the journal".to_owned()),
            AppendError::Unavailable(why) => Refusal::JournalUnavailable(why),
            AppendError::InDoubt(_) => Refusal::JournalInDoubt(id),
            AppendError::Taken(_) => Refusal::Reused,
        }
    }
}

impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Self {
        let mut body = ErrorBody::new(refusal.name(), refusal.text()).with_reason(refusal.reason());
        if let Refusal::JournalInDoubt(id) = refusal {
            body = body.with_transaction(*id, refusal.recovery());
        }
        let reply = Reply::from(EdgeAnswer::error(refusal.status(), &body));
        if refusal.status() == 503 { reply.with(RETRY_AFTER, "5") } else { reply }
    }
}
