//! What the proof needs inside the edge: named points at which a process can be made to die, and rules that can be
//! broken on purpose, to show that the checker notices.
//!
//! Only with the feature `proof`. Without it both questions are constants, and nothing of this is in the binary: an
//! ordinary build knows neither of the variables. Which point or rule it is comes from the environment at the start
//! of the process, one of each:
//!
//! * `CHROMA_EDGE_CRASH_AT=after_append:17`: the process ends by SIGKILL when it passes that point the 17th time;
//! * `CHROMA_EDGE_BREAK_RULE=swap_two_entries`: that rule is not kept.

/// A step of a write's life (docs/life-of-a-write.md) at which the process can be made to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPoint {
    /// A write is read and understood; the journal has not heard of it.
    BeforeAppend,
    /// The write is durable; its lane has not heard of it.
    AfterAppend,
    /// The request's last byte has left for an instance; its answer has not come.
    AfterSend,
    /// The instance has answered; neither the board nor the client knows.
    AfterAnswer,
    /// The outcome is known; its mark is not durable.
    BeforeMark,
    /// An entry that another instance has applied is about to be carried to this one.
    DuringSync,
    /// The journal is claimed from another edge; nothing is restored.
    DuringTakeover,
}

impl CrashPoint {
    pub const ALL: [CrashPoint; 7] = [
        CrashPoint::BeforeAppend,
        CrashPoint::AfterAppend,
        CrashPoint::AfterSend,
        CrashPoint::AfterAnswer,
        CrashPoint::BeforeMark,
        CrashPoint::DuringSync,
        CrashPoint::DuringTakeover,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            CrashPoint::BeforeAppend => "before_append",
            CrashPoint::AfterAppend => "after_append",
            CrashPoint::AfterSend => "after_send",
            CrashPoint::AfterAnswer => "after_answer",
            CrashPoint::BeforeMark => "before_mark",
            CrashPoint::DuringSync => "during_sync",
            CrashPoint::DuringTakeover => "during_takeover",
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
    /// R6: two neighbouring entries of a lane change places on their way to one instance.
    KeepOrder,
    /// G9: an entry that failed three times on an instance is given up there.
    DropNothing,
    /// R5: any instance that is up serves reads, whatever it has not applied yet.
    FreshReads,
    /// R2, G4: a request whose answer was lost counts as never sent, and the lane goes on behind it.
    RememberDoubt,
    /// G6: a transaction id that was seen before is executed again.
    OnceOnly,
    /// Section 4: a delete by condition or with a limit is carried as it was received, late, instead of in its place.
    DeleteInPlace,
}

impl Rule {
    pub const ALL: [Rule; 8] = [
        Rule::JournalFirst,
        Rule::ReplayOne,
        Rule::KeepOrder,
        Rule::DropNothing,
        Rule::FreshReads,
        Rule::RememberDoubt,
        Rule::OnceOnly,
        Rule::DeleteInPlace,
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
        }
    }
}

/// Passes this point; the process ends here if it was told to.
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

#[cfg(feature = "proof")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{CrashPoint, Rule};

    struct Crash {
        point: CrashPoint,
        passes_left: AtomicU64,
    }

    static CRASH: LazyLock<Option<Crash>> = LazyLock::new(|| {
        let told = std::env::var("CHROMA_EDGE_CRASH_AT").ok()?;
        let (name, passes) = told.split_once(':')?;
        let point = CrashPoint::ALL.into_iter().find(|point| point.as_str() == name)?;
        Some(Crash { point, passes_left: AtomicU64::new(passes.parse().ok()?) })
    });

    static BROKEN: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let told = std::env::var("CHROMA_EDGE_BREAK_RULE").ok()?;
        Rule::ALL.into_iter().find(|rule| rule.breach() == told)
    });

    pub fn pass(point: CrashPoint) {
        let Some(crash) = CRASH.as_ref().filter(|crash| crash.point == point) else { return };
        if crash.passes_left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        eprintln!("crash point: {}", point.as_str());
        // A process can always end itself, and does not return from it.
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    pub fn broken(rule: Rule) -> bool {
        *BROKEN == Some(rule)
    }
}
