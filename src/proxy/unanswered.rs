//! The edge's answer to a settled write that no instance has answered. `write.rs` and `replay.rs` decide when to give
//! it.

use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName};
use crate::ids::LaneId;
use crate::order::Verdict;
use crate::web::Reply;

/// The answer to a write that no instance has answered: its collection was deleted, rule R10 abandoned it, or rule R13
/// quarantined it.
pub fn unanswered(verdict: Verdict, lane: LaneId) -> Reply {
    if verdict == Verdict::Quarantined {
        let text = "An instance died while it executed the write: it is quarantined, and is not executed unless an \
                    operator sends it again (/admin/quarantine)";
        let error = ErrorBody::new(ErrorName::InternalError, text).with_reason("quarantine");
        return Reply::from(EdgeAnswer::error(500, &error));
    }
    if let (Verdict::Void, LaneId::Records(collection)) = (verdict, lane) {
        return Reply::from(ErrorBody::collection_id_not_found(collection));
    }
    let error = ErrorBody::new(ErrorName::InternalError, "No instance answered the write, and none has it");
    Reply::from(EdgeAnswer::error(500, &error))
}
