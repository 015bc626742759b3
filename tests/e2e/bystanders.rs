//! Clients that are not involved in a failure, and must not notice it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use testkit::http::{Answer, Client, record_path};

/// Clients of other collections. They run until this is finished.
pub struct Bystanders {
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicU32>,
    well: Arc<AtomicU32>,
    /// Each returns how many of its adds were acknowledged.
    threads: Vec<JoinHandle<u32>>,
}

impl Bystanders {
    /// Starts one client for each of these collections.
    pub fn start(client: &Client, collections: &[String]) -> Bystanders {
        let over = Arc::new(AtomicBool::new(false));
        let (rounds, well) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let threads = collections.iter().map(|id| {
            let (over, rounds, well) = (Arc::clone(&over), Arc::clone(&rounds), Arc::clone(&well));
            let (client, id) = (client.with_timeout(Duration::from_secs(20)), id.clone());
            std::thread::spawn(move || {
                let mut acknowledged = 0;
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let record = testkit::cluster::record(&format!("r{n}"));
                    let added = client.try_call("POST", &record_path(&id, "add"), &record);
                    let find = json!({ "ids": [format!("r{n}")], "include": [] });
                    let found = client.try_call("POST", &record_path(&id, "get"), &find);
                    rounds.fetch_add(1, Ordering::Relaxed);
                    let is = |answer: std::io::Result<Answer>, status| answer.is_ok_and(|one| one.status == status);
                    let added = is(added, 201);
                    acknowledged += u32::from(added);
                    if added && is(found, 200) {
                        well.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                acknowledged
            })
        });
        let threads = threads.collect();
        Bystanders { over, rounds, well, threads }
    }

    /// Stops them, and checks that nothing went wrong for them.
    #[track_caller]
    pub fn finish(self) {
        self.acknowledged();
    }

    /// Does the same as [`Bystanders::finish`], and returns how many adds were acknowledged, by collection.
    #[track_caller]
    pub fn acknowledged(mut self) -> Vec<u32> {
        self.over.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        let acknowledged = threads.into_iter().map(|thread| thread.join().expect("a bystander")).collect();
        let (rounds, well) = (self.rounds.load(Ordering::Relaxed), self.well.load(Ordering::Relaxed));
        assert!(rounds >= 20 && well * 100 >= rounds * 95, "{well} of {rounds} rounds of the bystanders went well");
        acknowledged
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
