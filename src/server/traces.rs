//! Turns tracing on, if the configuration names a collector.

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;

use super::services::{Task, Work};
use super::start_error::StartError;
use crate::config::Config;
use crate::instance::Target;
use crate::traces::{self, Exporter};

/// Sends recorded spans.
pub(super) struct TraceService(Exporter);

#[async_trait]
impl Work for TraceService {
    /// Outlives the shutdown signal: work under way is recorded to its end, and sent before the process ends.
    async fn work(self, _shutdown: ShutdownWatch, _ready: ServiceReadyNotifier) {
        self.0.run().await;
    }
}

/// Starts recording spans and returns the service that sends them, unless tracing is off.
///
/// # Errors
/// The collector's CA file cannot be used.
pub(super) fn service(config: &Config) -> Result<Option<Task<TraceService>>, StartError> {
    let Some(options) = config.traces.clone() else { return Ok(None) };
    let target = Target::new("traces", options.url.clone(), options.ca_file.clone());
    let target = target.map_err(|error| StartError::Setup(error.to_string()))?;
    tracing::info!(endpoint = %options.url, sample_ratio = options.sample_ratio, "traces are recorded");
    Ok(Some(Task::now(TraceService(traces::start(options, target)))))
}
