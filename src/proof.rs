//! Hooks for the proof inside the edge: named points at which a process can be made to crash, and rules that can be
//! broken on purpose to show that the checker notices.
//!
//! Active only with the feature `proof`. Without it every function here is a constant and nothing of this is in the
//! binary, so an ordinary build ignores the variables. With it, the environment selects at most one of each at process
//! start. A variable with an invalid value ends the process:
//!
//! * `CHROMA_EDGE_CRASH_AT=after_append:17`: the process ends by SIGKILL when it passes that point for the 17th time;
//! * `CHROMA_EDGE_BREAK_RULE=swap_two_entries`: that rule is broken;
//! * `CHROMA_EDGE_PANIC_AT_BYTES=4321`: the board panics in the step that receives a request's outcome, if the request
//!   contains an entry of this many bytes.

#[cfg(feature = "proof")]
mod armed;

/// A step of a write's life (docs/life-of-a-write.md), or of a copy that is made anew (rule R14), at which the process
/// can be made to crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPoint {
    /// A write is read and prepared; it is not in the journal yet.
    BeforeAppend,
    /// Writes are durable and not in their lanes yet. Passed once for each commit that contains any.
    AfterAppend,
    /// The ids of a limited delete are read but not durable.
    BeforeResolved,
    /// A write's last byte has left for an instance; the answer has not arrived.
    AfterSend,
    /// The instance has answered a write; neither the board nor the client has the answer.
    AfterAnswer,
    /// A collection exists on an instance; only this process has its id there.
    BeforeMapping,
    /// A definition that takes two requests is half made on an instance.
    BetweenTwoRequests,
    /// The outcome is known; the progress is not durable.
    BeforeMark,
    /// The progress is durable; the board has not been notified, and nothing newer is sent.
    AfterMark,
    /// The client has its answer; its transaction is not COMPLETED.
    BeforeCompleted,
    /// An entry that may have been executed on this instance is about to be sent there again.
    BeforeRepeat,
    /// An entry that another instance has applied is about to be replicated to this one.
    DuringSync,
    /// The journal is claimed from another edge that may still be running; nothing is restored. Only with a shared journal.
    DuringTakeover,
    /// A copy is about to be made anew; the target has none of it.
    BeforeCopy,
    /// The new copy exists under its hidden name, and is empty.
    CopyCreated,
    /// A page of records is in the new copy.
    AfterCopyPage,
    /// The copy was compared; its lane is not held.
    BeforeCutover,
    /// The new copy has taken its name on the target; its admission is not durable.
    NamesExchanged,
    /// The admission is durable; the board has not been notified.
    AfterCutover,
    /// A copy is about to be repaired where it is; nothing is written.
    BeforeRepair,
    /// The copy equals its source and its lane is held; its admission is not durable.
    CopyRepaired,
}

impl CrashPoint {
    /// Every point, in the order of a write's life, then of a copy's.
    pub const ALL: [CrashPoint; 21] = [
        CrashPoint::BeforeAppend,
        CrashPoint::AfterAppend,
        CrashPoint::BeforeResolved,
        CrashPoint::AfterSend,
        CrashPoint::AfterAnswer,
        CrashPoint::BeforeMapping,
        CrashPoint::BetweenTwoRequests,
        CrashPoint::BeforeMark,
        CrashPoint::AfterMark,
        CrashPoint::BeforeCompleted,
        CrashPoint::BeforeRepeat,
        CrashPoint::DuringSync,
        CrashPoint::DuringTakeover,
        CrashPoint::BeforeCopy,
        CrashPoint::CopyCreated,
        CrashPoint::AfterCopyPage,
        CrashPoint::BeforeCutover,
        CrashPoint::NamesExchanged,
        CrashPoint::AfterCutover,
        CrashPoint::BeforeRepair,
        CrashPoint::CopyRepaired,
    ];

    /// Returns whether the point is passed only while a copy is made anew or repaired.
    pub fn is_in_a_copy(self) -> bool {
        self >= CrashPoint::BeforeCopy
    }

    /// Returns whether the point is passed only while a copy is repaired.
    pub fn is_in_a_repair(self) -> bool {
        self >= CrashPoint::BeforeRepair
    }

    /// The name in the environment, and in the log of a process that crashed at this point.
    pub fn as_str(self) -> &'static str {
        match self {
            CrashPoint::BeforeAppend => "before_append",
            CrashPoint::AfterAppend => "after_append",
            CrashPoint::BeforeResolved => "before_resolved",
            CrashPoint::AfterSend => "after_send",
            CrashPoint::AfterAnswer => "after_answer",
            CrashPoint::BeforeMapping => "before_mapping",
            CrashPoint::BetweenTwoRequests => "between_two_requests",
            CrashPoint::BeforeMark => "before_mark",
            CrashPoint::AfterMark => "after_mark",
            CrashPoint::BeforeCompleted => "before_completed",
            CrashPoint::BeforeRepeat => "before_repeat",
            CrashPoint::DuringSync => "during_sync",
            CrashPoint::DuringTakeover => "during_takeover",
            CrashPoint::BeforeCopy => "before_copy",
            CrashPoint::CopyCreated => "copy_created",
            CrashPoint::AfterCopyPage => "after_copy_page",
            CrashPoint::BeforeCutover => "before_cutover",
            CrashPoint::NamesExchanged => "names_exchanged",
            CrashPoint::AfterCutover => "after_cutover",
            CrashPoint::BeforeRepair => "before_repair",
            CrashPoint::CopyRepaired => "copy_repaired",
        }
    }
}

/// A rule that can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// G1: a write is executed first and journaled afterwards.
    JournalFirst,
    /// R1, R2: after a lost answer the whole range is sent again, instead of the one entry that is in doubt.
    ReplayOne,
    /// R6: two neighboring entries of a lane swap places on their way to the other instances.
    KeepOrder,
    /// G9: an applied entry that failed three times on another instance is given up there. Being away when the entry
    /// could have been sent counts as a failure.
    DropNothing,
    /// R5: any instance that is up serves reads, however far behind it is.
    FreshReads,
    /// R2, G4: a request whose answer was lost counts as done on its instance, and the lane goes on behind it. After a
    /// restart nothing is in doubt.
    RememberDoubt,
    /// G6: a transaction id that was seen before is executed again.
    OnceOnly,
    /// R1: a delete is replicated late, behind the write that follows it, and a limited delete is replicated as it was
    /// received.
    DeleteInPlace,
    /// R13: a suspect, bound to the instance that died while it had it, is sent to another one.
    SuspectBound,
    /// R12: an instance that fails an entry another one has applied skips it, as if it were rejected. An entry that may
    /// have been acknowledged is rejected by agreement.
    AppliedStands,
    /// R5, R16: a diverged copy is reported as equal without being read.
    CompareFirst,
    /// R14: entries that entered the lane since the last comparison are not brought to the copy being made or repaired,
    /// unless the lists of ids show them.
    TailToo,
    /// R14: the lane stands still once and then goes on while the new copy takes its place.
    HeldLane,
    /// R14: records deleted on the source while the copy was made stay in the copy.
    DeletedToo,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 14] = [
        Rule::JournalFirst,
        Rule::ReplayOne,
        Rule::KeepOrder,
        Rule::DropNothing,
        Rule::FreshReads,
        Rule::RememberDoubt,
        Rule::OnceOnly,
        Rule::DeleteInPlace,
        Rule::SuspectBound,
        Rule::AppliedStands,
        Rule::CompareFirst,
        Rule::TailToo,
        Rule::HeldLane,
        Rule::DeletedToo,
    ];

    /// The name of the rule's breach in the environment.
    pub fn breach(self) -> &'static str {
        match self {
            Rule::JournalFirst => "journal_after_execute",
            Rule::ReplayOne => "replay_a_range",
            Rule::KeepOrder => "swap_two_entries",
            Rule::DropNothing => "drop_after_three_retries",
            Rule::FreshReads => "stale_reads",
            Rule::RememberDoubt => "forget_in_doubt",
            Rule::OnceOnly => "execute_twice",
            Rule::DeleteInPlace => "late_delete_where",
            Rule::SuspectBound => "send_suspect_twice",
            Rule::AppliedStands => "reject_what_was_applied",
            Rule::CompareFirst => "admit_without_compare",
            Rule::TailToo => "skip_the_tail",
            Rule::HeldLane => "switch_without_barrier",
            Rule::DeletedToo => "copy_resurrects_deleted",
        }
    }
}

/// A variable of the proof with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(String);

/// Checks the environment's variables once, at the start. Without the feature the environment is not read.
///
/// # Errors
/// A variable names no known point, number of passes, number of bytes or rule.
pub fn check() -> Result<(), Mistake> {
    #[cfg(feature = "proof")]
    armed::check()?;
    Ok(())
}

/// Passes this point. The process ends here if the environment says so.
#[inline(always)]
pub fn pass(point: CrashPoint) {
    #[cfg(feature = "proof")]
    armed::pass(point);
    #[cfg(not(feature = "proof"))]
    let _ = point;
}

/// Returns whether this rule is broken on purpose: never without the feature.
#[inline(always)]
pub fn broken(rule: Rule) -> bool {
    #[cfg(feature = "proof")]
    return armed::broken(rule);
    #[cfg(not(feature = "proof"))]
    {
        let _ = rule;
        false
    }
}

/// Returns whether any rule is broken on purpose: never without the feature.
#[inline(always)]
pub fn any_broken() -> bool {
    Rule::ALL.into_iter().any(broken)
}

/// Returns whether an entry with a body of this many bytes makes the board panic: never without the feature.
#[inline(always)]
pub fn panics_at(bytes: u64) -> bool {
    #[cfg(feature = "proof")]
    return armed::panics_at(bytes);
    #[cfg(not(feature = "proof"))]
    {
        let _ = bytes;
        false
    }
}

/// Returns whether neighbors in a lane swap places on purpose, whichever rule that breaks.
#[inline(always)]
pub fn out_of_order() -> bool {
    broken(Rule::KeepOrder) || broken(Rule::DeleteInPlace)
}
