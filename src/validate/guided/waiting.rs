//! Waits for what the operator does, by polling `/status`, with a limit. The prober keeps writing meanwhile.

use std::time::{Duration, Instant};

use super::prober::Prober;
use super::walk::Walk;
use crate::clock;
use crate::validate::endpoint::{Endpoint, Instance};
use crate::validate::findings::Stop;

/// The pause between two polls.
const LOOK: Duration = Duration::from_millis(250);
/// The pause between two writes of the prober.
const PROBE: Duration = Duration::from_secs(1);

/// How long the instance's return took.
#[derive(Debug, Default)]
pub struct Times {
    /// From the request to resume until the edge sent to the instance again.
    pub seen: Duration,
    /// From then until the instance had every write.
    pub caught_up: Duration,
    pub most_pending: u64,
}

/// Waits until the edge sends nothing to the instance, and returns how long that took. An outage of another instance,
/// which was not requested, ends the wait.
pub fn until_down(walk: &mut Walk<'_>, prober: &mut Prober) -> Result<Duration, Stop> {
    let mut watch = Watch::begin("up");
    loop {
        let instance = watch.look(walk, prober)?;
        if let Some(other) = watch.others.first() {
            return Err(Stop(format!("{other}, and it is {} that was to be suspended", walk.target.name)));
        }
        if instance.is_some_and(|one| !one.healthy) {
            return Ok(watch.begun.elapsed());
        }
        watch.pause(walk, "was not seen down")?;
    }
}

/// Waits until the edge sends to the instance again and it has what it missed.
pub fn until_caught_up(walk: &mut Walk<'_>, prober: &mut Prober) -> Result<Times, Stop> {
    let mut watch = Watch::begin("down");
    let mut times = Times::default();
    let mut healthy_since = None;
    loop {
        if let Some(instance) = watch.look(walk, prober)? {
            times.most_pending = times.most_pending.max(instance.pending);
            if instance.healthy {
                let since: Instant = *healthy_since.get_or_insert_with(clock::now);
                times.seen = since.duration_since(watch.begun);
                times.caught_up = since.elapsed();
                // Other clients write, too, so it may always lack the most recent writes.
                if instance.state == "up" || instance.pending == 0 {
                    return Ok(times);
                }
            }
        }
        let what = if healthy_since.is_some() { "has not caught up" } else { "was not seen again" };
        watch.pause(walk, what)?;
    }
}

struct Watch {
    begun: Instant,
    next_beat: Instant,
    told: String,
    /// The unhealthy instances other than the target, each with its state.
    others: Vec<String>,
}

impl Watch {
    /// `known`: the state that the operator already knows.
    fn begin(known: &str) -> Watch {
        let now = clock::now();
        Watch { begun: now, next_beat: now, told: known.to_owned(), others: Vec::new() }
    }

    /// Lets the prober beat when it is due, and returns the instance as the edge shows it; `None` if the edge did not
    /// answer this time.
    fn look(&mut self, walk: &mut Walk<'_>, prober: &mut Prober) -> Result<Option<Instance>, Stop> {
        if clock::now() >= self.next_beat {
            prober.beat(walk.run, &mut walk.session_log);
            self.next_beat = clock::now() + PROBE;
        }
        let instances = match Endpoint::ask(walk.run.edge.wire()) {
            Endpoint::Active { instances, .. } => instances,
            Endpoint::Standby(why) | Endpoint::NotAnEdge(why) => return Err(Stop(why)),
            // A failed poll says nothing about the instance; the prober counts what clients see.
            Endpoint::Unreachable(why) => {
                walk.progress.say(&why);
                return Ok(None);
            }
        };
        self.others(walk, &instances);
        let found = instances.into_iter().find(|one| one.name == walk.target.name);
        let instance = found.ok_or_else(|| Stop(format!("the edge does not know {} any more", walk.target.name)))?;
        if instance.state != self.told {
            walk.say(&format!("  {} is {}", instance.name, instance.state));
            self.told.clone_from(&instance.state);
        }
        let waited = self.begun.elapsed().as_secs();
        walk.progress.say(&format!(
            "{} is {}, {} writes to go ({waited} s of {} s)",
            instance.name,
            instance.state,
            instance.pending,
            walk.wait.as_secs()
        ));
        Ok(Some(instance))
    }

    /// Reports at once which other instances are unhealthy.
    fn others(&mut self, walk: &mut Walk<'_>, instances: &[Instance]) {
        let unhealthy: Vec<&Instance> = instances.iter().filter(|one| !one.healthy).collect();
        walk.unhealthy = unhealthy.iter().map(|one| one.name.clone()).collect();
        let others: Vec<&Instance> = unhealthy.into_iter().filter(|one| one.name != walk.target.name).collect();
        let now: Vec<String> = others.iter().map(|one| one.describe()).collect();
        for other in now.iter().filter(|other| !self.others.contains(other)) {
            walk.say(&format!("  {other}"));
        }
        self.others = now;
    }

    fn pause(&self, walk: &Walk<'_>, what: &str) -> Result<(), Stop> {
        if self.begun.elapsed() >= walk.wait {
            return Err(Stop(format!("{} {what} within {} s", walk.target.name, walk.wait.as_secs())));
        }
        // This waits for a person and another machine: there is nothing to await but the next poll.
        std::thread::sleep(LOOK);
        Ok(())
    }
}
