//! The active half of the proof: reads the environment once, and does what it says.
//!
//! A process with an invalid variable never runs as if none were set. A run that wrongly believes it crashed, or broke
//! a rule, would prove nothing.

use std::ffi::OsString;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

use super::{CrashPoint, Mistake, Rule};

const CRASH_AT: &str = "CHROMA_EDGE_CRASH_AT";
const BREAK_RULE: &str = "CHROMA_EDGE_BREAK_RULE";
const PANIC_AT_BYTES: &str = "CHROMA_EDGE_PANIC_AT_BYTES";
/// EX_USAGE of sysexits.h, as for a mistake in the configuration.
const USAGE: i32 = 64;

/// The settings from the environment.
#[derive(Debug, Default)]
struct Settings {
    crash: Option<Crash>,
    broken: Option<Rule>,
    panic_at_bytes: Option<u64>,
}

#[derive(Debug)]
struct Crash {
    point: CrashPoint,
    passes_left: AtomicU64,
}

static SETTINGS: LazyLock<Result<Settings, Mistake>> =
    LazyLock::new(|| read([CRASH_AT, BREAK_RULE, PANIC_AT_BYTES].map(std::env::var_os)));

fn read([crash_at, break_rule, panic_at_bytes]: [Option<OsString>; 3]) -> Result<Settings, Mistake> {
    Ok(Settings {
        crash: crash_at.map(crash).transpose()?,
        broken: break_rule.map(rule).transpose()?,
        panic_at_bytes: panic_at_bytes.map(bytes).transpose()?,
    })
}

fn bytes(value: OsString) -> Result<u64, Mistake> {
    let read = value.to_str().and_then(|text| text.parse().ok());
    read.ok_or_else(|| Mistake(format!("{PANIC_AT_BYTES}={value:?} is not a number of bytes")))
}

fn crash(value: OsString) -> Result<Crash, Mistake> {
    let names = || CrashPoint::ALL.map(CrashPoint::as_str).join(", ");
    let mistake = || {
        Mistake(format!("{CRASH_AT}={value:?} is not POINT:PASSES, with PASSES from 1 and POINT one of {}", names()))
    };
    let (name, passes) = value.to_str().and_then(|text| text.split_once(':')).ok_or_else(mistake)?;
    let point = CrashPoint::ALL.into_iter().find(|point| point.as_str() == name).ok_or_else(mistake)?;
    let passes = passes.parse().ok().filter(|passes| *passes > 0).ok_or_else(mistake)?;
    Ok(Crash { point, passes_left: AtomicU64::new(passes) })
}

fn rule(value: OsString) -> Result<Rule, Mistake> {
    let found = Rule::ALL.into_iter().find(|rule| value == rule.breach());
    let names = || Rule::ALL.map(Rule::breach).join(", ");
    found.ok_or_else(|| Mistake(format!("{BREAK_RULE}={value:?} is not one of {}", names())))
}

pub(super) fn check() -> Result<(), Mistake> {
    SETTINGS.as_ref().map(drop).map_err(Clone::clone)
}

/// A process that never calls `check`, such as a test that has the rules in its own process, is ended by its first query.
fn settings() -> &'static Settings {
    SETTINGS.as_ref().unwrap_or_else(|mistake| {
        eprintln!("{mistake}");
        std::process::exit(USAGE)
    })
}

pub(super) fn pass(point: CrashPoint) {
    let Some(crash) = settings().crash.as_ref().filter(|crash| crash.point == point) else { return };
    if crash.passes_left.fetch_sub(1, Ordering::SeqCst) != 1 {
        return;
    }
    eprintln!("crash point: {}", point.as_str());
    // A process can always kill itself, and does not return from it.
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

pub(super) fn broken(rule: Rule) -> bool {
    settings().broken == Some(rule)
}

pub(super) fn panics_at(bytes: u64) -> bool {
    settings().panic_at_bytes == Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(crash_at: Option<&str>, break_rule: Option<&str>) -> Result<Settings, String> {
        let values = [crash_at, break_rule, None].map(|value| value.map(OsString::from));
        read(values).map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn every_name_is_understood_and_names_one_thing() {
        for point in CrashPoint::ALL {
            let crash = said(Some(&format!("{}:17", point.as_str())), None).unwrap().crash.unwrap();
            assert_eq!((crash.point, crash.passes_left.into_inner()), (point, 17));
        }
        for rule in Rule::ALL {
            assert_eq!(said(None, Some(rule.breach())).unwrap().broken, Some(rule));
        }
        let nothing = said(None, None).unwrap();
        assert!(nothing.crash.is_none() && nothing.broken.is_none());
    }

    #[test]
    fn what_cannot_be_followed_is_a_mistake() {
        for wrong in ["", "after_append", "after_append:", "after_append:0", "after_append:-1", "after_apend:1", ":1"] {
            let mistake = said(Some(wrong), None).unwrap_err();
            assert!(mistake.starts_with(CRASH_AT) && mistake.contains("during_takeover"), "{mistake}");
        }
        for wrong in ["", "keep_order", "swap_two_entries "] {
            let mistake = said(None, Some(wrong)).unwrap_err();
            assert!(mistake.starts_with(BREAK_RULE) && mistake.contains("swap_two_entries"), "{mistake}");
        }
    }

    #[test]
    fn bytes_are_a_number() {
        let said = |text: &str| read([None, None, Some(OsString::from(text))]).map(|settings| settings.panic_at_bytes);
        assert_eq!(said("4321"), Ok(Some(4321)));
        assert!(said("").is_err() && said("4k").is_err());
    }
}
