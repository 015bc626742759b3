//! What a failed statement means, nothing durable or in doubt, and how it is described to an operator.

use rusqlite::ErrorCode;

use crate::journal::{CommitError, ReadError};

/// Returns the error for a statement that failed before `COMMIT`: the batch is rolled back.
pub(super) fn refused(error: &rusqlite::Error) -> CommitError {
    CommitError::Refused(explain(error))
}

/// Returns the error for a failed read.
pub(super) fn unread(error: rusqlite::Error) -> ReadError {
    ReadError::caused_by(explain(&error), error)
}

/// Describes the failure for an operator, and keeps SQLite's own text.
pub(super) fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!("the disk is full, or the journal is at its size limit ({error})"),
        Some(ErrorCode::ReadOnly) => format!("the journal file is read-only ({error})"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("the journal file is damaged, or is not a journal ({error})")
        }
        _ => error.to_string(),
    }
}

/// Returns whether a failed `COMMIT` is known to have left nothing behind. SQLite reports these errors before it writes
/// the commit record, or because it could not write it. After any other error, the record may have reached the disk.
pub(super) fn is_clean(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ConstraintViolation
        )
    )
}
