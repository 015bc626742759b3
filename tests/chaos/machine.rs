//! What the machine itself does to a run: its disk or its processors can stall, and no promise about time holds
//! meanwhile. Measured beside the run, independently of what the edge reports.
//!
//! Decides what counts as a stall. A stall touches the journal and the edge, and excuses nothing else: what is written,
//! read and left is judged all the same.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::Clock;
use super::driver::{Disturbance, Part};

const PAUSE: Duration = Duration::from_millis(50);
/// A pause and a flush of one page that take longer than this count as a stall: half of what the edge allows its
/// journal.
const STILL: Duration = Duration::from_secs(1);

/// Watches until it is dropped or finished.
#[derive(Debug)]
pub struct Machine {
    over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<Vec<Disturbance>>>,
}

impl Machine {
    /// Watches the disk of this folder, where the run's journal is flushed.
    pub fn watch(clock: Clock, folder: &Path) -> Machine {
        let over = Arc::new(AtomicBool::new(false));
        let mut file = tempfile::tempfile_in(folder).expect("a file");
        let told = Arc::clone(&over);
        let watcher = thread::spawn(move || {
            let mut stills = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let from = clock.now();
                flush_a_page(&mut file);
                thread::sleep(PAUSE);
                let to = clock.now();
                let took = Duration::from_nanos(to - from);
                if took > STILL {
                    let what = format!("the machine stood still for {took:.1?}");
                    stills.extend([Part::Journal, Part::Edge].map(|part| Disturbance {
                        part,
                        from,
                        to,
                        what: what.clone(),
                    }));
                }
            }
            stills
        });
        Machine { over, watcher: Some(watcher) }
    }

    /// Returns when the machine stalled.
    pub fn finish(mut self) -> Vec<Disturbance> {
        self.over.store(true, Ordering::Relaxed);
        self.watcher.take().map(|watcher| watcher.join().expect("the watcher")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn flush_a_page(file: &mut File) {
    file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("a page on the disk");
}
