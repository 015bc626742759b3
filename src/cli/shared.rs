//! What commands share: the exit code of a mistake, and how to wait for a future. Each command is in its own file.

/// A mistake in the command line or the configuration: EX_USAGE of sysexits.h.
pub(super) const USAGE: u8 = 64;

/// Runs `work` to completion on the current thread.
pub(super) fn waited_for<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| error.to_string())?.block_on(work))
}
