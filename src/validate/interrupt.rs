//! Ctrl-C or SIGTERM: the run ends at once and lists what it leaves behind.
//!
//! Nothing is removed: an operator who interrupts a run may want to inspect it.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::client::Ledger;

/// The exit code of an interrupted run: 128 plus SIGINT, the convention of shells.
const INTERRUPTED: i32 = 130;

/// Watches for signals for the rest of the process. `reminder` tells the operator what is left to do.
pub fn watch(ledger: &Arc<Ledger>, reminder: Option<String>) {
    let ledger = Arc::clone(ledger);
    // Without the thread or its runtime, a signal ends the process as usual, but without the list.
    #[allow(clippy::disallowed_methods, reason = "one thread: it ends with the process")]
    let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime
            && runtime.block_on(interrupted()).is_ok()
        {
            say(&ledger);
            reminder.iter().for_each(|reminder| eprintln!("{reminder}"));
            std::process::exit(INTERRUPTED);
        }
    });
}

async fn interrupted() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn say(ledger: &Ledger) {
    let left = ledger.left();
    if left.is_empty() {
        eprintln!("\ninterrupted; nothing of this run is left");
        return;
    }
    eprintln!("\ninterrupted; what this run has made is left, as far as it came to be, and removed by:");
    for name in &left {
        eprintln!("  {}", ledger.removal(name));
    }
    ledger.needs().iter().for_each(|what| eprintln!("  ({what})"));
}
