//! A real outage of one instance of a live deployment, caused by an operator and watched by this program.
//!
//! Decides the steps and the messages. No key confirms a step: `/status` shows what the operator has done. Every wait
//! has a limit. Whatever fails on the way, the operator is asked to resume what was suspended.

mod operations;
mod prober;
mod session_log;
mod waiting;
mod walk;

use std::time::Duration;

use self::prober::Prober;
pub use self::session_log::NAME;
use self::session_log::SessionLog;
use self::walk::Walk;
use super::checks;
use super::endpoint::Instance;
use super::findings::{Findings, Outcome, Stop, Verdict};
use super::progress::Progress;
use super::run::Run;
use crate::clock;

type Step = fn(&mut Walk<'_>, &mut Findings) -> Result<(), Stop>;

/// Each step depends on the one before it.
const STEPS: [(&str, Step); 5] =
    [("before", before), ("outage", outage), ("operations", operations), ("recovery", recovery), ("content", content)];

/// Guides the operator through an outage of this instance. The error lists the known instances.
pub fn walk(run: &Run, instance: &str, wait: Duration) -> Result<Vec<Outcome>, String> {
    let target = target(run, instance)?;
    let session_log = SessionLog::default();
    let mut walk = Walk { run, target, wait, unhealthy: Vec::new(), session_log, progress: Progress::of(STEPS.len()) };
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut stopped: Option<&str> = None;
    for (name, step) in STEPS {
        if let Some(at) = stopped {
            outcomes.push(Outcome::skipped(name, &format!("{at} did not come to its end")));
            continue;
        }
        let (begun, mut findings) = (clock::now(), Findings::default());
        if let Err(Stop(why)) = step(&mut walk, &mut findings) {
            findings.fail(why);
            stopped = Some(name);
        }
        walk.progress.end();
        outcomes.push(findings.conclude(name, begun.elapsed()));
    }
    if outcomes.iter().all(|one| one.verdict == Verdict::Passed) {
        let mut findings = Findings::default();
        checks::remove(run, NAME, &mut findings);
        if !findings.is_clean() {
            outcomes.push(findings.conclude("removal", Duration::ZERO));
        }
    }
    Ok(outcomes)
}

/// Finds the instance by name, or by role.
fn target(run: &Run, instance: &str) -> Result<Instance, String> {
    let named = run.instances.iter().find(|one| one.name == instance);
    let found = named.or_else(|| run.instances.iter().find(|one| one.role == instance));
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = run.instances.iter().map(|one| one.name.as_str()).collect();
        format!("the deployment has no instance {instance:?}: it has {}", names.join(", "))
    })
}

/// Checks that everything is healthy, and writes content that could be lost.
fn before(walk: &mut Walk<'_>, findings: &mut Findings) -> Result<(), Stop> {
    if let Some(down) = walk.run.instances.iter().find(|one| !one.healthy) {
        return Err(Stop(format!("an outage needs a whole deployment to begin with: {}", down.describe())));
    }
    if walk.run.instances.len() < 2 {
        return Err(Stop("there is only one instance: its outage would be everybody's".to_owned()));
    }
    walk.session_log.begin(walk.run)?;
    let compared = walk.session_log.compare(walk.run, findings);
    findings.count("records compared", compared);
    if findings.is_clean() { Ok(()) } else { Err(Stop("the content differs before anything has happened".to_owned())) }
}

/// The instance goes away while clients continue.
fn outage(walk: &mut Walk<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let (target, seconds) = (walk.target.clone(), walk.wait.as_secs());
    walk.say(&format!(
        "\nNow suspend {} ({}): stop its process or its machine, or cut its network. Waiting for up to {seconds} s.",
        target.name, target.url
    ));
    let mut prober = Prober::default();
    let seen = waiting::until_down(walk, &mut prober);
    prober.tell(findings);
    let waited = seen.map_err(|why| walk.give_up(why))?;
    findings.time("until it was seen", waited);
    walk.say(&format!("{} is down, as the edge sees it.", target.name));
    Ok(())
}

/// Performs the usual operations of clients without the instance.
fn operations(walk: &mut Walk<'_>, findings: &mut Findings) -> Result<(), Stop> {
    walk.say("Creating, adding, reading, changing, deleting and listing without it ...");
    operations::all(walk.run, &mut walk.session_log, findings);
    // Even after a failure, the instance must be resumed.
    Ok(())
}

/// The instance returns and catches up while clients continue.
fn recovery(walk: &mut Walk<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let seconds = walk.wait.as_secs();
    walk.say(&format!("\nNow resume {}. Waiting for up to {seconds} s.", walk.target.name));
    let mut prober = Prober::default();
    let caught_up = waiting::until_caught_up(walk, &mut prober);
    prober.tell(findings);
    let times = caught_up.map_err(|why| walk.give_up(why))?;
    findings.time("until it was seen", times.seen);
    findings.time("to catch up", times.caught_up);
    findings.figure("most pending writes", times.most_pending);
    walk.say(&format!("{} has caught up.", walk.target.name));
    Ok(())
}

/// Checks that every instance holds what was acknowledged before, during and after the outage.
fn content(walk: &mut Walk<'_>, findings: &mut Findings) -> Result<(), Stop> {
    walk.say("Comparing every record on every instance ...");
    walk.run.patience.set(walk.wait);
    let compared = walk.session_log.compare(walk.run, findings);
    findings.count("records compared", compared);
    Ok(())
}
