//! The rooms' options, made from the configuration and made again on each reload.
//!
//! It decides which option comes from which key. A reload that changes one of these replaces all of them at once.

use std::time::Duration;

use crate::admin::{AdminOptions, EarlierOptions, Lanes, StoreKind};
use crate::audit::AuditOptions;
use crate::config::{Config, ConnectionPooling, GranularLocking};
use crate::current::Current;
use crate::executor::RunnerOptions;
use crate::heal::HealOptions;
use crate::instance::Timeouts;
use crate::journal::retention::RetentionOptions;
use crate::proxy::ProxyOptions;
use crate::rejoin::RejoinOptions;

/// The options of every room that accepts new ones while it runs.
#[derive(Clone)]
pub(super) struct Options {
    pub proxy: Current<ProxyOptions>,
    pub runner: Current<RunnerOptions>,
    pub rejoin: Current<RejoinOptions>,
    pub heal: Current<HealOptions>,
    pub audit: Current<AuditOptions>,
    pub retention: Current<RetentionOptions>,
    pub admin: Current<AdminOptions>,
    pub quarantine_wait: Current<Duration>,
    pub settle_time: Current<Duration>,
    kind: StoreKind,
    process: ProcessLimits,
}

/// The values of Pingora's own keys. They take effect at the next start.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessLimits {
    /// Threads per service.
    pub workers: usize,
    /// The most idle connections to instances kept for reads.
    pub kept_connections: usize,
}

impl Options {
    pub fn of(config: &Config, kind: StoreKind, process: ProcessLimits) -> Options {
        Options {
            proxy: Current::new(config.proxy.clone()),
            runner: Current::new(runner(config)),
            rejoin: Current::new(rejoin(config)),
            heal: Current::new(config.heal),
            audit: Current::new(config.audit),
            retention: Current::new(config.journal.retention.clone()),
            admin: Current::new(admin(config, kind, process)),
            quarantine_wait: Current::new(config.quarantine_wait),
            settle_time: Current::new(config.settle_time),
            kind,
            process,
        }
    }

    /// Applies the options of this configuration from now on.
    pub fn set(&self, config: &Config) {
        self.proxy.set(config.proxy.clone());
        self.runner.set(runner(config));
        self.rejoin.set(rejoin(config));
        self.heal.set(config.heal);
        self.audit.set(config.audit);
        self.retention.set(config.journal.retention.clone());
        self.admin.set(admin(config, self.kind, self.process));
        self.quarantine_wait.set(config.quarantine_wait);
        self.settle_time.set(config.settle_time);
    }
}

fn runner(config: &Config) -> RunnerOptions {
    RunnerOptions {
        attempt_timeout: config.attempt_timeout,
        request_timeout: config.proxy.request_timeout,
        settle_time: config.settle_time,
        quarantine_wait: config.quarantine_wait,
    }
}

fn rejoin(config: &Config) -> RejoinOptions {
    RejoinOptions {
        interval: config.recovery_interval,
        marker_interval: config.marker_interval,
        foreign: config.foreign,
        settle_time: config.settle_time,
    }
}

fn admin(config: &Config, kind: StoreKind, process: ProcessLimits) -> AdminOptions {
    AdminOptions {
        recovery_interval: config.recovery_interval,
        store: kind,
        key_headers: config.proxy.idempotency.clone(),
        keep_ids: config.keep_ids,
        dashboards: config.limits.dashboards,
        client_rate: config.proxy.client_rate.map_or(0, |rate| rate.per_second.get()),
        earlier: EarlierOptions {
            buffered_bytes: config.limits.admission.buffered_bytes,
            workers: process.workers,
            merge_documents: config.limits.merge.documents,
            request_timeout: config.proxy.request_timeout,
            retention: config.journal.retention.keep,
            kept_connections: match config.connection_pooling {
                ConnectionPooling::Enabled => Some(process.kept_connections),
                ConnectionPooling::Disabled => None,
            },
            lanes: match config.granular_locking {
                GranularLocking::Enabled => Lanes::SideBySide,
                GranularLocking::Disabled => Lanes::OneByOne,
            },
            protection: config.proxy.protection.clone(),
            reset: config.proxy.reset,
        },
    }
}

/// Returns the time limits of requests to instances. One key sets two of them, a switch sets the third, and the last
/// has no key.
pub(super) fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        attempt: config.attempt_timeout,
        read: config.attempt_timeout,
        idle: match config.connection_pooling {
            ConnectionPooling::Enabled => Timeouts::default().idle,
            // Not kept at all.
            ConnectionPooling::Disabled => Duration::ZERO,
        },
        ..Timeouts::default()
    }
}
