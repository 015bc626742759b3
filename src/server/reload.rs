//! Reads the configuration again while the edge runs (decision 0034): all of it takes effect, or nothing. Changes that
//! a running edge cannot apply may cause a restart in place (decision 0043).
//!
//! It decides whether a reload or a restart in place may be done, and in which order the parts of a reload take effect.
//! [`crate::config::KEYS`] lists the keys that may change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};
use tracing::{error, info, warn};

use super::handover::Handover;
use super::image;
use super::leadership::LeaseHolder;
use super::options::{self, Options};
use crate::admin::{Ask, Process, Reload, ReloadChange, ReloadRefusal, Reloaded, Restart};
use crate::config::{self, Config, Difference, Mistakes, SetLog, Source};
use crate::current::Current;
use crate::instance::{InstanceOptions, Registry};

/// The name under which a changed list of instances appears among the keys.
const INSTANCES: &str = "instances";

/// The configuration in effect, and how another one replaces it.
pub(super) struct Reloader {
    /// Allows one reload at a time, and none while the edge becomes active.
    turn: Mutex<()>,
    config: Current<Config>,
    options: Options,
    registry: Arc<Registry>,
    set_log: SetLog,
    handover: Arc<Handover>,
    /// Provides the board, once there is one.
    holder: Arc<LeaseHolder>,
    stopping: AtomicBool,
}

impl Reloader {
    pub fn new(
        config: Current<Config>,
        (options, registry): (Options, Arc<Registry>),
        (handover, holder): (Arc<Handover>, Arc<LeaseHolder>),
        set_log: SetLog,
    ) -> Arc<Reloader> {
        let (turn, stopping) = (Mutex::new(()), AtomicBool::new(false));
        Arc::new(Reloader { turn, config, options, registry, set_log, handover, holder, stopping })
    }

    /// Blocks reloads while the edge becomes active: a reload comes before that or after it.
    pub async fn no_reload(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Refuses all reloads from now on, because the process is about to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Reloads after a signal. The outcome is logged.
    pub async fn on_signal(&self, restart: Restart) {
        // Refusals are logged where they arise.
        let _ = self.reload(Ask::with(restart)).await;
    }

    /// Reloads or restarts. Everything that can refuse comes before anything changes.
    async fn take_over(&self, ask: &Ask) -> Result<Reloaded, ReloadRefusal> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(ReloadRefusal::Stopping);
        }
        let Ok(_turn) = self.turn.try_lock() else { return Err(ReloadRefusal::Busy) };
        let before = self.config.get();
        let after = match (&before.source, ask.restart) {
            // The environment is inherited unchanged.
            (Source::Environment, Restart::Always) => return self.restart(&before, None, ask).await,
            (source, _) => read_again(source)?,
        };
        let difference = Difference::between(&before, &after);
        let mut late: Vec<String> = difference.needs_restart().into_iter().map(str::to_owned).collect();
        if difference.instances.changes_the_set() {
            late.push(INSTANCES.to_owned());
        }
        let restarts = match ask.restart {
            Restart::Never => false,
            Restart::ForInstances => late == [INSTANCES],
            Restart::IfNeeded => !late.is_empty(),
            Restart::Always => true,
        };
        if restarts {
            return self.restart(&before, Some((&after, &difference)), ask).await;
        }
        if !late.is_empty() {
            return Err(ReloadRefusal::NeedsRestart(late));
        }
        self.apply(difference, after)
    }

    fn apply(&self, difference: Difference, after: Config) -> Result<Reloaded, ReloadRefusal> {
        self.check_connections(&after.instances)?;
        let reloaded = shown(&difference);
        for (_, to) in difference.instances.readdressed {
            if let Some(id) = self.registry.id_of(to.name.as_str())
                && let Err(error) = self.registry.readdress(id, to)
            {
                // Its file was readable a moment ago.
                error!(%error, "an instance keeps its address");
            }
        }
        if let Err(error) = self.registry.limit(options::timeouts(&after), after.health) {
            error!(%error, "an instance keeps its time limits");
        }
        self.options.set(&after);
        (self.set_log)(&after.log);
        for notice in &after.notices {
            warn!("{}", notice.0);
        }
        self.config.set(after);
        Ok(reloaded)
    }

    /// Begins a restart in place, if the next start will not fail and nothing is lost by it.
    async fn restart(
        &self,
        before: &Config,
        after: Option<(&Config, &Difference)>,
        ask: &Ask,
    ) -> Result<Reloaded, ReloadRefusal> {
        if !self.handover.is_possible() {
            return Err(ReloadRefusal::NotListening);
        }
        if let Some((after, difference)) = after {
            self.check_removed(&difference.instances.removed, &ask.confirm)?;
            check_listeners(before, after)?;
        }
        let checked = self.handover.image().check().await;
        checked.map_err(|error| ReloadRefusal::CannotStart(error.to_string()))?;
        if self.stopping.swap(true, Ordering::AcqRel) {
            return Err(ReloadRefusal::Stopping);
        }
        self.handover.begin(before.handover_linger);
        let reloaded = after.map(|(_, difference)| shown(difference)).unwrap_or_default();
        Ok(Reloaded { process: Process::Restarts, ..reloaded })
    }

    /// Checks that no copy held only by removed instances is given up without an operator's confirmation.
    fn check_removed(&self, removed: &[String], confirmed: &[String]) -> Result<(), ReloadRefusal> {
        if removed.iter().all(|name| confirmed.contains(name)) {
            return Ok(());
        }
        // A standby has no board to check.
        let Some(core) = self.holder.core() else { return Ok(()) };
        let going: Vec<_> = removed.iter().filter_map(|name| self.registry.id_of(name)).collect();
        let Some(last) = core.board().held_by_these_alone(&going) else { return Ok(()) };
        Err(ReloadRefusal::LastCopy(format!(
            "Without {}, no instance would hold {}: make that whole elsewhere first, or name each instance that is to be taken \
             out in \"confirm\"",
            removed.join(", "),
            core.describe(&last)
        )))
    }

    /// Checks the files of every instance: they may have changed although the configuration has not.
    fn check_connections(&self, instances: &[InstanceOptions]) -> Result<(), ReloadRefusal> {
        for options in instances {
            self.registry.could_connect(options).map_err(|error| ReloadRefusal::Mistakes(vec![error.to_string()]))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reload for Reloader {
    async fn reload(&self, ask: Ask) -> Result<Reloaded, ReloadRefusal> {
        let outcome = self.take_over(&ask).await;
        match &outcome {
            Ok(reloaded) => tell(reloaded),
            Err(refusal) => {
                warn!(reason = refusal.reason(), "the configuration is not reloaded, and nothing is changed: {refusal}")
            }
        }
        outcome
    }
}

/// Checks that any new listen address is free. If it were not, the next start would fail.
fn check_listeners(before: &Config, after: &Config) -> Result<(), ReloadRefusal> {
    let old = [Some(before.listen), before.admin_listen];
    let new = [Some(after.listen), after.admin_listen];
    for address in new.into_iter().flatten().filter(|address| !old.contains(&Some(*address))) {
        image::could_bind(address)
            .map_err(|error| ReloadRefusal::CannotStart(format!("cannot listen on {address}: {error}")))?;
    }
    Ok(())
}

/// Reads the configuration as at the start: the same file, overridden by the same environment.
fn read_again(source: &Source) -> Result<Config, ReloadRefusal> {
    let Source::File(path) = source else { return Err(ReloadRefusal::NoFile) };
    let read = config::load(Some(path), &|name| std::env::var(name).ok());
    read.map_err(|mistakes: Mistakes| {
        ReloadRefusal::Mistakes(mistakes.to_string().lines().map(str::to_owned).collect())
    })
}

fn shown(difference: &Difference) -> Reloaded {
    let moves = &difference.instances;
    let change = |key: &str, from: &str, to: &str| ReloadChange {
        key: key.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let name = |one: &InstanceOptions| one.name.to_string();
    Reloaded {
        process: Process::GoesOn,
        changed: difference.keys.iter().map(|one| change(&one.key, &one.from, &one.to)).collect(),
        readdressed: moves
            .readdressed
            .iter()
            .map(|(from, to)| change(to.name.as_str(), &from.url.to_string(), &shown_move(from, to)))
            .collect(),
        added: moves.added.iter().map(name).collect(),
        removed: moves.removed.clone(),
        reordered: moves.reordered.clone(),
    }
}

/// Describes where the instance is now and what else is different. Shows no header and no file.
fn shown_move(from: &InstanceOptions, to: &InstanceOptions) -> String {
    let mut shown = to.url.to_string();
    for (what, differs) in
        [("other headers", from.headers != to.headers), ("other files of TLS", from.trust != to.trust)]
    {
        if differs {
            shown.push_str(&format!(", {what}"));
        }
    }
    shown
}

fn tell(reloaded: &Reloaded) {
    let what = match reloaded.process {
        Process::GoesOn if *reloaded == Reloaded::default() => {
            return info!("configuration reloaded: nothing is different");
        }
        Process::GoesOn => "configuration reloaded",
        Process::Restarts => "restart in place begins",
    };
    info!("{what}");
    for ReloadChange { key, from, to } in &reloaded.changed {
        info!(key, from, to, "{what}: this key has changed");
    }
    for ReloadChange { key: instance, from, to } in &reloaded.readdressed {
        info!(instance, from, to, "{what}: this instance is reached in another way");
    }
    for instance in &reloaded.added {
        info!(instance, "{what}: this instance is new");
    }
    for instance in &reloaded.removed {
        info!(instance, "{what}: this instance is taken out");
    }
    if let Some(order) = &reloaded.reordered {
        info!(order = order.join(", "), "{what}: the instances have another order");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::StoreKind;
    use crate::ids::InstanceId;
    use crate::journal::sqlite::{SqliteOptions, SqliteStore};
    use crate::lease::Lease;
    use crate::server::image::Image;

    const ONE: &str = "edge:\n  instances:\n    - { name: a, url: 'http://127.0.0.1:1' }\n";

    fn reloader(source: Source) -> Arc<Reloader> {
        let config = Config { source, ..config::parse("edge.yaml", ONE, &|_| None).unwrap() };
        let registry = Registry::new(config.instances.clone(), options::timeouts(&config), config.health).unwrap();
        let process = options::ProcessLimits { workers: 1, kept_connections: 1 };
        let options = Options::of(&config, StoreKind::Sqlite, process);
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open_with(&dir.path().join("journal.db"), &SqliteOptions::default()).unwrap();
        let holder =
            LeaseHolder::new(Arc::new(store), Arc::new(Lease::none()), Arc::default(), options.settle_time.clone());
        let handover = Handover::new(Image::of_this_process().unwrap());
        Reloader::new(Current::new(config), (options, registry), (handover, holder), Box::new(|_| {}))
    }

    async fn reload(reloader: &Reloader) -> Result<Reloaded, ReloadRefusal> {
        reloader.reload(Ask::with(Restart::Never)).await
    }

    fn in_file(text: &str) -> (tempfile::TempDir, Arc<Reloader>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.yaml");
        std::fs::write(&path, text).unwrap();
        (dir, reloader(Source::File(path)))
    }

    #[tokio::test]
    async fn without_a_file_there_is_nothing_to_read_again() {
        assert_eq!(reload(&reloader(Source::Environment)).await, Err(ReloadRefusal::NoFile));
    }

    #[tokio::test]
    async fn one_reload_at_a_time_and_none_while_the_edge_stops() {
        let (_dir, reloader) = in_file(ONE);
        let turn = reloader.no_reload().await;
        assert_eq!(reload(&reloader).await, Err(ReloadRefusal::Busy));
        drop(turn);
        assert_eq!(reload(&reloader).await, Ok(Reloaded::default()));
        reloader.stop();
        assert_eq!(reload(&reloader).await, Err(ReloadRefusal::Stopping));
    }

    #[tokio::test]
    async fn keys_and_addresses_take_effect_and_other_instances_do_not() {
        let (dir, reloader) = in_file(&format!("{ONE}  write_wait: 1s\n").replace(":1'", ":2'"));
        let reloaded = reload(&reloader).await.unwrap();
        assert_eq!((reloaded.changed.len(), reloaded.readdressed.len()), (1, 1));
        assert_eq!(reloader.options.proxy.get().write_wait, std::time::Duration::from_secs(1));
        assert_eq!(reloader.registry.url(InstanceId(0)).to_string(), "http://127.0.0.1:2");
        let two = format!("{ONE}    - {{ name: b, url: 'http://127.0.0.1:3' }}\n");
        std::fs::write(dir.path().join("edge.yaml"), two).unwrap();
        assert_eq!(reload(&reloader).await, Err(ReloadRefusal::NeedsRestart(vec!["instances".to_owned()])));
        assert_eq!(reloader.registry.url(InstanceId(0)).to_string(), "http://127.0.0.1:2", "nothing has changed");
        let restart = reloader.reload(Ask::with(Restart::ForInstances)).await;
        assert_eq!(restart, Err(ReloadRefusal::NotListening), "connections would be refused meanwhile");
    }
}
