//! The audit log: pages, filters, and counts that are exact after any history.

use std::collections::BTreeMap;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn made(kind: Kind, session: &str, created_at: i64) -> Draft {
    let profile = Profile::of(kind, 1);
    let client_session = (!session.is_empty()).then(|| session.to_owned());
    Draft { profile, client_session, created_at: at(created_at), ..draft(LaneId::Catalog, "x") }
}

async fn page(store: &dyn Store, filter: &Filter, after: Option<AuditCursor>, limit: u32) -> AuditPage {
    store.audit(&AuditQuery { filter: filter.clone(), after, limit }).await.unwrap()
}

/// Returns everything that the filter matches, read in pages of this length.
async fn all(store: &dyn Store, filter: &Filter, limit: u32) -> Vec<TransactionRow> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = page(store, filter, after, limit).await;
        assert!(page.transactions.len() <= limit as usize);
        rows.extend(page.transactions);
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
}

pub async fn pages_hold_everything_once_newest_first(bench: &impl Bench) {
    let store = bench.open();
    // Several created at the same moment, and a clock that went backwards.
    let times = [5, 5, 5, 9, 7, 7, 12, 3];
    let drafts: Vec<_> = times.iter().map(|time| made(Kind::Add, "s", *time)).collect();
    let seqs = append(&*store, drafts).await;
    let mut expected: Vec<_> = times.iter().zip(&seqs).map(|(time, seq)| (*time, *seq)).collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    for filter in [
        Filter::default(),
        Filter { session: Some("s".to_owned()), ..Filter::default() },
        Filter { statuses: vec![Status::Attempting, Status::Failed], ..Filter::default() },
    ] {
        for limit in [1, 2, 3, 7, 8, 9] {
            let found: Vec<_> =
                all(&*store, &filter, limit).await.iter().map(|row| (row.created_at.millis(), row.seq)).collect();
            assert_eq!(found, expected, "{limit} {filter:?}");
        }
    }
    let first = page(&*store, &Filter::default(), None, 3).await;
    // A transaction that arrives meanwhile is newer, and moves nothing.
    append(&*store, vec![made(Kind::Add, "s", 20)]).await;
    let second = page(&*store, &Filter::default(), first.next, 3).await;
    assert_eq!(second.transactions[0].seq, expected[3].1);
}

pub async fn a_filter_matches_by_each_of_its_parts(bench: &impl Bench) {
    let store = bench.open();
    let drafts = vec![
        made(Kind::Add, "one", 10),
        made(Kind::Delete, "one", 20),
        made(Kind::DeleteLimited, "two", 30),
        made(Kind::Add, "", 40),
    ];
    let seqs = append(&*store, drafts).await;
    record(&*store, vec![status(seqs[1], Status::Completed), status(seqs[2], Status::Failed)]).await;
    let session = |name: &str| Filter { session: Some(name.to_owned()), ..Filter::default() };
    let cases = [
        (Filter::default(), vec![3, 2, 1, 0]),
        (session("one"), vec![1, 0]),
        (session("three"), vec![]),
        (Filter { statuses: vec![Status::Completed, Status::Failed], ..Filter::default() }, vec![2, 1]),
        (Filter { operations: OperationType::shown_as("delete"), ..Filter::default() }, vec![2, 1]),
        (Filter { operations: OperationType::shown_as("add"), ..session("one") }, vec![0]),
        (Filter { since: Some(at(20)), until: Some(at(40)), ..Filter::default() }, vec![2, 1]),
        (Filter { since: Some(at(20)), statuses: vec![Status::Completed], ..session("one") }, vec![1]),
        (Filter { until: Some(at(20)), statuses: vec![Status::Completed], ..Filter::default() }, vec![]),
        (Filter { operations: vec![OperationType::Application], ..Filter::default() }, vec![]),
    ];
    for (filter, expected) in cases {
        let page = page(&*store, &filter, None, 10).await;
        let found: Vec<_> = page.transactions.iter().map(|row| row.seq).collect();
        assert_eq!(found, expected.iter().map(|index: &usize| seqs[*index]).collect::<Vec<_>>(), "{filter:?}");
        let counted: u64 = page.counts.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, found.len() as u64, "{filter:?}");
    }
}

/// A small generator that yields the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const HOUR: i64 = 3_600_000;
/// One name is a prefix of the other.
const PRINCIPALS: [Option<&str>; 3] = [None, Some("cms"), Some("cms2")];

fn any_status(numbers: &mut Numbers) -> Status {
    Status::ALL[usize::try_from(numbers.below(5)).unwrap()]
}

/// Does one random thing. Returns how many transactions it trimmed.
async fn anything(store: &dyn Store, numbers: &mut Numbers, seqs: &mut Vec<Seq>) -> u64 {
    let kinds = [Kind::Add, Kind::Delete, Kind::DeleteLimited, Kind::CreateCollection];
    match numbers.below(5) {
        0 | 1 => {
            let some = 1 + numbers.below(4);
            let mut draft = || {
                let kind = kinds[usize::try_from(numbers.below(4)).unwrap()];
                let session = ["", "one", "two"][usize::try_from(numbers.below(3)).unwrap()];
                let made = made(kind, session, i64::try_from(numbers.below(5 * HOUR as u64)).unwrap());
                let principal = PRINCIPALS[usize::try_from(numbers.below(3)).unwrap()];
                let key = made.transaction_id.to_string();
                let tenant = ClientKey::scope_of(principal, "tenant");
                Draft { client_key: Some(ClientKey { tenant, key, fingerprint: [7; 32] }), ..made }
            };
            let drafts = (0..some).map(|_| draft()).collect();
            seqs.extend(append(store, drafts).await);
            0
        }
        2 | 3 if !seqs.is_empty() => {
            let mut facts = Vec::new();
            for _ in 0..3 {
                let seq = seqs[usize::try_from(numbers.below(seqs.len() as u64)).unwrap()];
                let timing_gap = if numbers.below(3) == 0 { TimingGap::Yes } else { TimingGap::No };
                facts.push(applied(seq));
                facts.push(Fact::Retried { seq, reason: "x".to_owned(), next_retry_at: None });
                facts.push(Fact::Status {
                    seq,
                    status: any_status(numbers),
                    response_status: Some(201),
                    failure_reason: None,
                    timing_gap,
                    executed_on: None,
                    at: at(i64::try_from(numbers.below(9 * HOUR as u64)).unwrap()),
                });
            }
            record(store, facts).await;
            0
        }
        _ => {
            if let Some(last) = seqs.last() {
                // Start at the beginning of the lane, so that it can be trimmed at all.
                let reached = Seq::new(numbers.below(last.get()));
                let first = load(store).await.entries.iter().map(|entry| entry.seq).next();
                record(store, first.map(|seq| finished(&[seq])).unwrap_or_default()).await;
                let lane = LaneId::Catalog;
                record(store, vec![progress(lane, "primary", reached), progress(lane, "replica", reached)]).await;
            }
            let before = at(i64::try_from(numbers.below(9 * HOUR as u64)).unwrap());
            store.trim(before, &instances(), Trimming::Age, 3).await.unwrap().transactions
        }
    }
}

fn scanned(rows: &[TransactionRow]) -> Vec<(Status, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row.status.as_str()).or_default() += 1);
    Status::ALL.iter().map(|status| (*status, counts.get(status.as_str()).copied().unwrap_or(0))).collect()
}

fn summarized(rows: &[TransactionRow]) -> Vec<StatusSummary> {
    let mut summary = Status::ALL.map(StatusSummary::none);
    for row in rows {
        let Some(one) = summary.iter_mut().find(|one| one.status == row.status) else { continue };
        one.count += 1;
        one.timing_gaps += u64::from(row.timing_gap == TimingGap::Yes);
        one.retries += u64::from(row.retry_count);
        one.oldest = Some(one.oldest.map_or(row.created_at, |oldest| oldest.min(row.created_at)));
        one.newest = Some(one.newest.map_or(row.created_at, |newest| newest.max(row.created_at)));
        if let Some(completed) = row.completed_at {
            one.completed += 1;
            one.completion_millis += u64::try_from(completed.millis() - row.created_at.millis()).unwrap_or(0);
        }
    }
    summary.to_vec()
}

pub async fn counts_equal_a_full_scan(bench: &impl Bench) {
    let store = bench.open();
    let mut numbers = Numbers(7);
    let mut seqs = Vec::new();
    let (mut most, mut trimmed) = (0, 0);
    for _ in 0..30 {
        for _ in 0..5 {
            trimmed += anything(&*store, &mut numbers, &mut seqs).await;
        }
        let rows = all(&*store, &Filter::default(), 50).await;
        most = most.max(rows.len());
        assert_eq!(store.summary().await.unwrap(), summarized(&rows));
        let totals = store.totals().await.unwrap();
        assert_eq!((totals.by_status, totals.transactions), (scanned(&rows), rows.len() as u64));
        let moment = |numbers: &mut Numbers| match numbers.below(3) {
            0 => None,
            _ => Some(at(i64::try_from(numbers.below(5 * HOUR as u64)).unwrap())),
        };
        for _ in 0..6 {
            let filter = Filter {
                principal: PRINCIPALS[usize::try_from(numbers.below(3)).unwrap()].map(str::to_owned),
                session: (numbers.below(3) == 0).then(|| "one".to_owned()),
                statuses: if numbers.below(2) == 0 { Vec::new() } else { vec![any_status(&mut numbers)] },
                operations: if numbers.below(2) == 0 { Vec::new() } else { OperationType::shown_as("delete") },
                since: moment(&mut numbers),
                until: moment(&mut numbers),
            };
            let matching: Vec<_> = rows.iter().filter(|row| matches(row, &filter)).cloned().collect();
            let page = page(&*store, &filter, None, 1000).await;
            assert_eq!(page.counts, scanned(&matching), "{filter:?}");
            let listed: Vec<_> = page.transactions.iter().map(|row| row.seq).collect();
            assert_eq!(listed, matching.iter().map(|row| row.seq).collect::<Vec<_>>(), "{filter:?}");
        }
    }
    assert!(most > 20 && trimmed > 5, "{most} were counted, {trimmed} trimmed");
}

fn matches(row: &TransactionRow, filter: &Filter) -> bool {
    let principal = row.client_key.as_ref().and_then(ClientKey::principal);
    (filter.session.is_none() || filter.session == row.client_session)
        && (filter.principal.is_none() || filter.principal.as_deref() == principal)
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && (filter.operations.is_empty() || filter.operations.contains(&row.operation))
        && filter.since.is_none_or(|since| row.created_at >= since)
        && filter.until.is_none_or(|until| row.created_at < until)
}

pub async fn what_is_recent_is_counted_from_its_moment(bench: &impl Bench) {
    let store = bench.open();
    let times = [0, HOUR - 1, HOUR, HOUR + 1, 3 * HOUR];
    let seqs = append(&*store, times.iter().map(|time| made(Kind::Add, "s", *time)).collect()).await;
    let gap = |seq| Fact::Status {
        seq,
        status: Status::Failed,
        response_status: None,
        failure_reason: None,
        timing_gap: TimingGap::Yes,
        executed_on: None,
        at: DONE,
    };
    record(&*store, vec![gap(seqs[1]), gap(seqs[3])]).await;
    let recent = store.recent(at(HOUR), at(HOUR - 1)).await.unwrap();
    let of = |status| recent.by_status.iter().find(|one| one.status == status).copied().unwrap();
    let expected = RecentStatus { status: Status::Attempting, count: 2, latest: Some(at(3 * HOUR)) };
    assert_eq!(of(Status::Attempting), expected);
    assert_eq!(of(Status::Failed), RecentStatus { status: Status::Failed, count: 1, latest: Some(at(HOUR + 1)) });
    assert_eq!(of(Status::Completed), RecentStatus { status: Status::Completed, count: 0, latest: None });
    assert_eq!(recent.timing_gaps, 2);
    assert_eq!(store.recent(at(HOUR), at(HOUR)).await.unwrap().timing_gaps, 1);
}

pub async fn details_tell_the_lane(bench: &impl Bench) {
    let store = bench.open();
    let lane = LaneId::Records(new_collection());
    let written = draft(lane, "a");
    let seq = append(&*store, vec![written.clone()]).await[0];
    record(&*store, vec![progress(lane, "primary", seq), progress(LaneId::Catalog, "replica", seq)]).await;
    let details = store.details(&Lookup::Id(written.transaction_id)).await.unwrap().unwrap();
    assert_eq!((details.transaction.seq, details.transaction.lane), (seq, Some(lane)));
    assert_eq!(details.transaction.operation, OperationType::Write(Kind::Upsert));
    assert_eq!(details.transaction.client_session.as_deref(), Some("session"));
    let rows: Vec<_> = details.progress.iter().map(|row| (row.instance.as_str(), row.through)).collect();
    assert_eq!((rows, details.application_data), (vec![("primary", seq)], None));
    assert!(store.details(&Lookup::Id(TransactionId::random())).await.unwrap().is_none());
    let there = store.transaction(&Lookup::Position(seq)).await.unwrap();
    assert_eq!(there.map(|row| row.transaction_id), Some(written.transaction_id));
    assert!(store.transaction(&Lookup::Position(Seq::new(seq.get() + 1))).await.unwrap().is_none());
}

pub async fn a_key_alone_finds_the_newest(bench: &impl Bench) {
    let store = bench.open();
    let drafts = [keyed("two", "key"), keyed("one", "key"), keyed("one", "other")];
    append(&*store, drafts.to_vec()).await;
    let found = async |lookup| store.transaction(&lookup).await.unwrap().map(|row| row.transaction_id);
    assert_eq!(
        found(Lookup::Key { key: "key".to_owned(), of: None, outside: None }).await,
        Some(drafts[1].transaction_id)
    );
    assert_eq!(found(Lookup::Key { key: "none".to_owned(), of: None, outside: None }).await, None);
    let outside = |scope: &str| Lookup::Key { key: "key".to_owned(), of: None, outside: Some(scope.to_owned()) };
    assert_eq!(found(outside("one")).await, Some(drafts[0].transaction_id));
    let scoped = keyed(&ClientKey::scope_of(Some("cms"), "one"), "key");
    append(&*store, vec![scoped.clone()]).await;
    let of = |name: &str| Lookup::Key { key: "key".to_owned(), of: Some(name.to_owned()), outside: None };
    assert_eq!(found(of("cms")).await, Some(scoped.transaction_id));
    assert_eq!((found(of("cm")).await, found(of("two")).await), (None, None), "a tenant is no principal");
    let in_two = Lookup::ClientKey { tenant: "two".to_owned(), key: "key".to_owned() };
    assert_eq!(found(in_two).await, Some(drafts[0].transaction_id));
}
