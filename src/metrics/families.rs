//! How a metric is registered: with its name, type, labels and help, which `docs/metrics.md` repeats.
//!
//! Defines no metric: those are in the files beside this one.

use prometheus::core::{Collector, Desc};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// The prefix of every name except those of the process, which are Prometheus' own.
pub(super) const PREFIX: &str = "chroma_edge";

/// Histogram bounds in seconds: from a journaled write that waits for one disk flush to a request that times out.
pub(super) const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Histogram bounds for the number of writes that share a request or a commit.
pub(super) const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// A metric as it is documented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family {
    pub name: String,
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

/// A registry, and a list of everything registered in it.
pub(super) struct Families {
    pub registry: Registry,
    pub list: Vec<Family>,
}

impl Families {
    pub fn new() -> Result<Families> {
        let registry = Registry::new_custom(Some(PREFIX.to_owned()), None)?;
        Ok(Families { registry, list: Vec::new() })
    }

    fn register<C: Collector + Clone + 'static>(&mut self, kind: &'static str, collector: C) -> Result<C> {
        let family = |desc: &&Desc| Family {
            name: format!("{PREFIX}_{}", desc.fq_name),
            kind,
            labels: desc.variable_labels.clone(),
            help: desc.help.clone(),
        };
        self.list.extend(collector.desc().iter().map(family));
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    pub fn count(&mut self, name: &str, help: &str) -> Result<IntGauge> {
        self.register("gauge", IntGauge::new(name, help)?)
    }

    pub fn number(&mut self, name: &str, help: &str) -> Result<Gauge> {
        self.register("gauge", Gauge::new(name, help)?)
    }

    pub fn counts(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub fn numbers(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.register("gauge", GaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub fn counter(&mut self, name: &str, help: &str) -> Result<IntCounter> {
        self.register("counter", IntCounter::new(name, help)?)
    }

    pub fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register("counter", IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub fn histogram(&mut self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram> {
        self.register("histogram", Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec()))?)
    }

    pub fn histograms(&mut self, name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.register("histogram", HistogramVec::new(options, labels)?)
    }
}
