//! What the proof needs inside the edge: named points at which a process can be made to die, and rules that can be
//! broken on purpose, to show that the checker notices.
//!
//! Only with the feature `proof`. Without it both questions are constants, and nothing of this is in the binary: an
//! ordinary build knows neither of the variables. Which point or rule it is comes from the environment at the start
//! of the process, one of each; a variable that cannot be followed ends the process:
//!
//! * `CHROMA_EDGE_CRASH_AT=after_append:17`: the process ends by SIGKILL when it passes that point the 17th time;
//! * `CHROMA_EDGE_BREAK_RULE=swap_two_entries`: that rule is not kept;
//! * `CHROMA_EDGE_PANIC_AT_BYTES=4321`: the step of the board that gets a request's outcome panics, if the request has an
//!   entry of so many bytes.

#[cfg(feature = "proof")]
mod armed;

/// A step of a write's life (docs/life-of-a-write.md), or of a copy that is made anew (rule R14), at which the process can be
/// made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPoint {
    /// A write is read and prepared; it is not in the journal yet.
    BeforeAppend,
    /// Writes are durable and not in their lanes yet. Once for each commit that contains any.
    AfterAppend,
    /// The ids of a limited delete are read and not durable.
    BeforeResolved,
    /// A write's last byte has left for an instance; its answer has not come.
    AfterSend,
    /// The instance has answered a write; neither the board nor the client knows.
    AfterAnswer,
    /// A collection exists on an instance; its id there is known to this process alone.
    BeforeMapping,
    /// A definition that takes two requests is half made on an instance.
    BetweenTwoRequests,
    /// The outcome is known; the progress is not durable.
    BeforeMark,
    /// The progress is durable; the board does not know, and nothing newer is sent.
    AfterMark,
    /// The client has its answer; its transaction is not COMPLETED.
    BeforeCompleted,
    /// An entry that may have been executed on this instance is about to be sent there again.
    BeforeRepeat,
    /// An entry that another instance has applied is about to be replicated to this one.
    DuringSync,
    /// The journal is claimed from another edge that may linger; nothing is restored. Only with a shared journal.
    DuringTakeover,
    /// A copy is about to be made anew; nothing of it is on the target.
    BeforeCopy,
    /// The new copy exists under its hidden name, and is empty.
    CopyCreated,
    /// A page of records is in the new copy.
    AfterCopyPage,
    /// The copy was compared; its lane is not held.
    BeforeCutover,
    /// The new copy has taken its name on the target; its admission is not durable.
    NamesExchanged,
    /// The admission is durable; the board does not know.
    AfterCutover,
    /// A copy is about to be repaired where it is; nothing of it is written.
    BeforeRepair,
    /// The copy is equal to its source, its lane is held; its admission is not durable.
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

    /// Whether it is passed only while a copy is made anew or repaired.
    pub fn is_in_a_copy(self) -> bool {
        self >= CrashPoint::BeforeCopy
    }

    /// Whether it is passed only while a copy is repaired.
    pub fn is_in_a_repair(self) -> bool {
        self >= CrashPoint::BeforeRepair
    }

    /// How it is named in the environment, and in the log of a process that ended there.
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
    /// G1: a write is executed, and journaled afterwards.
    JournalFirst,
    /// R1, R2: after a lost answer the whole range is sent again, not the one entry that is in doubt.
    ReplayOne,
    /// R6: two neighbouring entries of a lane change places on their way to the other instances.
    KeepOrder,
    /// G9: an applied entry that failed three times on another instance is given up there. That the instance was away when
    /// it could have been sent counts as a failure.
    DropNothing,
    /// R5: any instance that is up serves reads, however far behind it is.
    FreshReads,
    /// R2, G4: a request whose answer was lost counts as done where it was sent, and the lane goes on behind it; after a
    /// restart nothing is in doubt.
    RememberDoubt,
    /// G6: a transaction id that was seen before is executed again.
    OnceOnly,
    /// R1: a delete is replicated late, behind the write that follows it, and one with a limit as it was received.
    DeleteInPlace,
    /// R13: a suspect, bound to the instance that died while it had it, is sent to another one.
    SuspectBound,
    /// R12: an instance that fails what another one has applied skips it, as if it had been rejected; and what may have been
    /// acknowledged is rejected by agreement.
    AppliedStands,
    /// R5, R16: a diverged copy is found equal without being read.
    CompareFirst,
    /// R14: what entered the lane since the last comparison is not brought to the copy that is made or repaired, unless the lists of
    /// ids show it.
    TailToo,
    /// R14: the lane goes on, once it has stood still, while the new copy takes its place.
    HeldLane,
    /// R14: what was deleted on the source while the copy was made stays in the copy.
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

    /// How its breach is named in the environment.
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

/// A variable of the proof that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(String);

/// Whether the environment asks for something that there is: asked once, at the start. Without the feature the
/// environment is not looked at.
///
/// # Errors
/// It names no point, no number of passes, or no rule.
pub fn check() -> Result<(), Mistake> {
    #[cfg(feature = "proof")]
    armed::check()?;
    Ok(())
}

/// Passes this point; the process ends here if the environment asks for it.
#[inline(always)]
pub fn pass(point: CrashPoint) {
    #[cfg(feature = "proof")]
    armed::pass(point);
    #[cfg(not(feature = "proof"))]
    let _ = point;
}

/// Whether this rule is broken on purpose: never without the feature.
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

/// Whether any rule is broken on purpose: never without the feature.
#[inline(always)]
pub fn any_broken() -> bool {
    Rule::ALL.into_iter().any(broken)
}

/// Whether an entry with a body of so many bytes makes the board panic: never without the feature.
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

/// Whether neighbours in a lane change places on purpose, whichever rule that breaks.
#[inline(always)]
pub fn out_of_order() -> bool {
    broken(Rule::KeepOrder) || broken(Rule::DeleteInPlace)
}
