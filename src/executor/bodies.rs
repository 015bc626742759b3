//! A cache of the journaled requests that lanes will need soon, up to a limit. An evicted one is read from the journal
//! again, so losing it costs time, never a write.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::{Seq, TraceId};
use crate::journal::{ReadError, Request, Store};

pub(super) struct Bodies {
    store: Arc<dyn Store>,
    limit: u64,
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    bytes: u64,
    /// Each request with the trace id of its client's request. That id is not journaled, so a request that is read
    /// again has none.
    by_seq: BTreeMap<Seq, (Request, Option<TraceId>)>,
}

impl Bodies {
    pub fn new(store: Arc<dyn Store>, limit: u64) -> Self {
        Bodies { store, limit, cached: Mutex::default() }
    }

    /// Caches the request. When the limit is reached, the oldest requests are evicted first.
    pub fn insert(&self, request: Request, trace: Option<TraceId>) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.bytes += weight(&request);
        cached.by_seq.insert(request.seq, (request, trace));
        while cached.bytes > self.limit
            && let Some((_, (oldest, _))) = cached.by_seq.pop_first()
        {
            cached.bytes -= weight(&oldest);
        }
    }

    /// Evicts the request, because it has changed in the journal.
    pub fn forget(&self, seq: Seq) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((request, _)) = cached.by_seq.remove(&seq) {
            cached.bytes -= weight(&request);
        }
    }

    /// Returns the trace id of the client's request, while it is cached.
    pub fn trace(&self, seq: Seq) -> Option<TraceId> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.by_seq.get(&seq).and_then(|(_, trace)| *trace)
    }

    /// Returns the requests at these positions, in order.
    pub async fn requests(&self, seqs: &[Seq]) -> Result<Vec<Request>, ReadError> {
        let mut found: HashMap<Seq, Request> = {
            let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
            seqs.iter().filter_map(|seq| cached.by_seq.get(seq).map(|(request, _)| (*seq, request.clone()))).collect()
        };
        let lacking: Vec<Seq> = seqs.iter().filter(|seq| !found.contains_key(seq)).copied().collect();
        if !lacking.is_empty() {
            found.extend(self.store.requests(&lacking).await?.into_iter().map(|request| (request.seq, request)));
        }
        seqs.iter()
            .map(|seq| {
                found.remove(seq).ok_or_else(|| ReadError::new(format!("transaction {seq} is not in the journal")))
            })
            .collect()
    }
}

fn weight(request: &Request) -> u64 {
    // Bookkeeping counts too: a million empty bodies are not free.
    request.body.len() as u64 + 512
}
