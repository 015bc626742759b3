//! An application's own operations: journaled and shown like writes, but not executed by the edge.

use super::*;
use crate::journal::retention::{RetentionOptions, counted, make_room_for_applications, overdue};

pub(in crate::journal) fn operation(key: &str) -> ApplicationDraft {
    ApplicationDraft {
        transaction_id: TransactionId::random(),
        client_key: ClientKey { tenant: String::new(), key: key.to_owned(), fingerprint: [3; 32] },
        method: "POST".to_owned(),
        path: "/import".to_owned(),
        body: Bytes::from_static(b"{\"file\":1}"),
        created_at: MADE,
        client_session: Some("session".to_owned()),
        client_ip: None,
        client: "token cms".to_owned(),
        user_identifier: Some("someone".to_owned()),
    }
}

pub(in crate::journal) async fn begin(store: &dyn Store, draft: &ApplicationDraft) -> Seq {
    record(store, vec![Fact::ApplicationBegan(Box::new(draft.clone()))]).await;
    by_id(store, draft.transaction_id).await.unwrap().seq
}

fn reported(seq: Seq, report: ApplicationReport) -> Fact {
    Fact::ApplicationReported { seq, report, at: DONE }
}

fn done() -> ApplicationReport {
    ApplicationReport::Done { answer: StoredAnswer { status: 200, body: Bytes::from_static(b"{\"pages\":3}") } }
}

fn failed(timing_gap: TimingGap) -> ApplicationReport {
    ApplicationReport::Failed { reason: "no answer".to_owned(), timing_gap }
}

pub async fn an_operation_is_journaled_once(bench: &impl Bench) {
    let store = bench.open();
    let first = operation("import-1");
    let seq = begin(&*store, &first).await;
    record(&*store, vec![Fact::ApplicationBegan(Box::new(first.clone()))]).await;
    let other = operation("import-1");
    record(&*store, vec![Fact::ApplicationBegan(Box::new(other.clone()))]).await;
    assert!(by_id(&*store, other.transaction_id).await.is_none(), "its key is taken");
    let write = append(&*store, vec![draft(LaneId::Catalog, "x")]).await;
    assert!(write[0] > seq, "one order for all");
    let facts = vec![Fact::ApplicationBegan(Box::new(operation("import-2"))), applied(write[0])];
    let both = store.commit(Batch { appends: vec![draft(LaneId::Catalog, "y")], facts }).await.unwrap();
    let second =
        store.transaction(&Lookup::Key { key: "import-2".to_owned(), of: None, outside: None }).await.unwrap().unwrap();
    assert!(write[0] < second.seq && second.seq < both[0], "facts come before appends");
    drop(store);
    let store = bench.open();
    let details =
        store.details(&Lookup::Key { key: "import-1".to_owned(), of: None, outside: None }).await.unwrap().unwrap();
    let row = &details.transaction;
    assert_eq!((row.transaction_id, row.status, row.lane), (first.transaction_id, Status::Attempting, None));
    assert_eq!((row.operation, row.client_key.as_ref()), (OperationType::Application, Some(&first.client_key)));
    assert_eq!((&row.client_session, &row.user_identifier), (&first.client_session, &first.user_identifier));
    assert_eq!((details.application_data, details.progress.len()), (Some(first.body), 0));
}

pub async fn an_operation_is_reported_by_the_rule(bench: &impl Bench) {
    let store = bench.open();
    let drafts = ["gap", "plain", "given up"].map(operation);
    let mut seqs = Vec::new();
    for draft in &drafts {
        seqs.push(begin(&*store, draft).await);
    }
    let given_up = ApplicationReport::GivenUp { reason: "never".to_owned(), timing_gap: TimingGap::No };
    record(&*store, vec![reported(seqs[0], failed(TimingGap::Yes)), reported(seqs[1], failed(TimingGap::No))]).await;
    let row = by_id(&*store, drafts[0].transaction_id).await.unwrap();
    assert_eq!((row.status, row.timing_gap, row.retry_count), (Status::Failed, TimingGap::Yes, 1));
    assert_eq!((row.failure_reason.as_deref(), row.completed_at), (Some("no answer"), None));
    record(&*store, seqs[..2].iter().map(|seq| reported(*seq, done())).collect()).await;
    record(&*store, vec![reported(seqs[2], given_up)]).await;
    // The first final report stays.
    record(&*store, seqs.iter().map(|seq| reported(*seq, failed(TimingGap::Yes))).collect()).await;
    let mut found = Vec::new();
    for draft in &drafts {
        let row = by_id(&*store, draft.transaction_id).await.unwrap();
        assert_eq!(row.completed_at, Some(DONE));
        found.push((row.status, row.timing_gap, row.response_status, row.answer.map(|answer| answer.body)));
    }
    let body = Some(Bytes::from_static(b"{\"pages\":3}"));
    let expected = [
        (Status::Recovered, TimingGap::Yes, Some(200), body.clone()),
        (Status::Completed, TimingGap::No, Some(200), body),
        (Status::Abandoned, TimingGap::No, None, None),
    ];
    assert_eq!(found, expected);
}

pub async fn only_an_operation_can_be_reported(bench: &impl Bench) {
    let store = bench.open();
    let write = draft(LaneId::Catalog, "x");
    let seq = append(&*store, vec![write.clone()]).await[0];
    record(&*store, vec![reported(seq, done()), reported(seq.next(), done())]).await;
    assert_eq!(by_id(&*store, write.transaction_id).await.unwrap().status, Status::Attempting);
}

pub async fn an_operation_is_nobodys_work(bench: &impl Bench) {
    let store = bench.open();
    let draft = operation("import");
    let seq = begin(&*store, &draft).await;
    store.begin(&instances(), LATER).await.unwrap();
    assert_eq!(
        by_id(&*store, draft.transaction_id).await.unwrap().status,
        Status::Attempting,
        "not finished by a start"
    );
    record(&*store, vec![reported(seq, failed(TimingGap::No))]).await;
    store.begin(&instances(), LATER).await.unwrap();
    assert_eq!(by_id(&*store, draft.transaction_id).await.unwrap().status, Status::Failed);
    let snapshot = load(&*store).await;
    assert_eq!((positions(&snapshot), snapshot.last), (Vec::new(), seq));
}

pub async fn an_operation_holds_nothing_back(bench: &impl Bench) {
    let store = bench.open();
    let drafts: Vec<_> = (0..4).map(|number| operation(&format!("import-{number}"))).collect();
    let mut seqs = Vec::new();
    for draft in &drafts {
        seqs.push(begin(&*store, draft).await);
    }
    let write = append(&*store, vec![draft(LaneId::Catalog, "x")]).await;
    record(&*store, finished(&write)).await;
    let lane = LaneId::Catalog;
    record(&*store, vec![progress(lane, "primary", write[0]), progress(lane, "replica", write[0])]).await;
    record(&*store, seqs[1..].iter().map(|seq| reported(*seq, done())).collect()).await;
    let trim = async |before, most| store.trim(before, &instances(), Trimming::Age, most).await.unwrap().transactions;
    assert_eq!(trim(DONE, 10).await, 0, "not before its time");
    assert_eq!(trim(LATER, 3).await, 3, "the write, and two");
    assert_eq!(trim(LATER, 3).await, 1);
    assert_eq!(trim(LATER, 3).await, 0);
    assert!(by_id(&*store, drafts[0].transaction_id).await.is_some(), "an open one stays");
    assert_eq!(load(&*store).await.floors, [(lane, write[0])]);
}

async fn taken(store: &dyn Store) -> u64 {
    store.application_use().await.unwrap().bytes
}

pub async fn what_operations_take_is_counted_apart(bench: &impl Bench) {
    let store = bench.open();
    assert_eq!(store.application_use().await.unwrap(), ApplicationUse::default());
    let write = append(&*store, vec![draft(LaneId::Catalog, "x")]).await;
    record(&*store, finished(&write)).await;
    let lane = LaneId::Catalog;
    record(&*store, vec![progress(lane, "primary", write[0]), progress(lane, "replica", write[0])]).await;
    let drafts: Vec<_> = (0..4).map(|number| operation(&format!("import-{number}"))).collect();
    let mut seqs = Vec::new();
    for draft in &drafts {
        seqs.push(begin(&*store, draft).await);
    }
    let one = (drafts[0].body.len() + drafts[0].path.len()) as u64 + APPLICATION_BYTES;
    assert_eq!(taken(&*store).await, 4 * one);
    record(&*store, seqs[1..].iter().map(|seq| reported(*seq, done())).collect()).await;
    assert_eq!(taken(&*store).await, 4 * one, "a short answer takes nothing more");
    // Ended operations make room, and no write is removed for them.
    let make_room = async |options| make_room_for_applications(&*store, options).await.unwrap().bytes;
    let plenty = RetentionOptions { application_bytes: 16 * one, batch: 1, ..RetentionOptions::default() };
    assert_eq!(make_room(&plenty).await, 4 * one, "there is room");
    let keep = RetentionOptions { application_bytes: one, ..plenty.clone() };
    let kept = RetentionOptions { keep_ids: std::time::Duration::from_secs(4_000_000_000), ..keep.clone() };
    assert_eq!(make_room(&kept).await, 4 * one, "ids may be repeated");
    assert_eq!(make_room(&keep).await, one, "an open one stays");
    assert!(store.transaction(&Lookup::Id(drafts[0].transaction_id)).await.unwrap().is_some());
    assert_eq!(store.requests(&write).await.unwrap().len(), 1);
    assert!(load(&*store).await.floors.is_empty(), "no lane was trimmed");
}

/// Three operations of one client, and two of another.
pub async fn a_client_that_has_half_of_its_share_makes_room_for_itself_alone(bench: &impl Bench) {
    let store = bench.open();
    let drafts: Vec<_> = (0..5).map(|number| operation(&format!("import-{number}"))).collect();
    let mut seqs = Vec::new();
    for (number, draft) in drafts.iter().enumerate() {
        let client = if number < 3 { "address 2001:db8::" } else { "token cms" };
        let draft = ApplicationDraft { client: client.to_owned(), ..draft.clone() };
        seqs.push(begin(&*store, &draft).await);
        assert_eq!(by_id(&*store, draft.transaction_id).await.unwrap().client.as_deref(), Some(client));
    }
    let one = (drafts[0].body.len() + drafts[0].path.len()) as u64 + APPLICATION_BYTES;
    let of = async |client: &str| store.application_bytes_of(client).await.unwrap();
    let largest = ClientUse { client: "address 2001:db8::".to_owned(), bytes: 3 * one };
    assert_eq!(store.application_use().await.unwrap(), ApplicationUse { bytes: 5 * one, largest: Some(largest) });
    assert_eq!((of("token cms").await, of("token other").await), (2 * one, 0));
    record(&*store, seqs[1..].iter().map(|seq| reported(*seq, done())).collect()).await;
    let options = RetentionOptions { application_client_bytes: 5 * one, batch: 1, ..RetentionOptions::default() };
    make_room_for_applications(&*store, &options).await.unwrap();
    assert_eq!((of("address 2001:db8::").await, of("token cms").await), (2 * one, 2 * one), "half of its share");
    let none = RetentionOptions { application_client_bytes: one, ..options };
    make_room_for_applications(&*store, &none).await.unwrap();
    assert_eq!((of("address 2001:db8::").await, of("token cms").await), (one, 0), "what is open stays");
}

/// The count is kept up to date as operations begin, fail, end and are removed.
pub async fn what_operations_take_is_what_a_look_at_each_shows(bench: &impl Bench) {
    let store = bench.open();
    let drafts: Vec<_> = (0..6).map(|number| operation(&format!("import-{number}"))).collect();
    let mut seqs = Vec::new();
    for draft in &drafts {
        seqs.push(begin(&*store, draft).await);
    }
    let check = async |what: &str| {
        let mut sum = 0;
        for draft in &drafts {
            let Some(row) = by_id(&*store, draft.transaction_id).await else { continue };
            let answer = row.answer.as_ref().map_or(0, |answer| answer.body.len());
            let reason = row.failure_reason.as_ref().map_or(0, String::len);
            sum += (draft.body.len() + draft.path.len()) as u64 + counted((reason + answer) as u64);
        }
        assert_eq!(
            (taken(&*store).await, store.application_bytes_of("token cms").await.unwrap()),
            (sum, sum),
            "{what}"
        );
    };
    check("begun").await;
    record(&*store, vec![Fact::ApplicationBegan(Box::new(drafts[0].clone()))]).await;
    check("begun twice").await;
    record(&*store, vec![reported(seqs[0], failed(TimingGap::Yes)), reported(seqs[1], failed(TimingGap::No))]).await;
    check("failed").await;
    record(&*store, seqs[..3].iter().map(|seq| reported(*seq, done())).collect()).await;
    let answer = StoredAnswer { status: 200, body: vec![b'x'; 3 * APPLICATION_BYTES as usize].into() };
    record(&*store, vec![reported(seqs[3], ApplicationReport::Done { answer })]).await;
    check("done").await;
    record(&*store, seqs[..4].iter().map(|seq| reported(*seq, failed(TimingGap::No))).collect()).await;
    check("reported late").await;
    let write = append(&*store, vec![draft(LaneId::Catalog, "x")]).await;
    record(&*store, finished(&write)).await;
    check("a write beside them").await;
    let trim = async || store.trim(LATER, &[], Trimming::Applications { above: 0 }, 3).await.unwrap().transactions;
    assert_eq!(trim().await, 3);
    check("three removed").await;
    assert_eq!(trim().await, 1);
    check("the open ones are left").await;
    assert!(taken(&*store).await > 0);
}

pub async fn what_nobody_ends_is_given_up_in_its_time(bench: &impl Bench) {
    let store = bench.open();
    let drafts = ["open", "failed", "done"].map(operation);
    let mut seqs = Vec::new();
    for draft in &drafts {
        seqs.push(begin(&*store, draft).await);
    }
    record(&*store, vec![reported(seqs[1], failed(TimingGap::No)), reported(seqs[2], done())]).await;
    let write = draft(LaneId::Catalog, "x");
    append(&*store, vec![write.clone()]).await;
    let options = RetentionOptions::default();
    assert!(overdue(&*store, &options, MADE).await.unwrap().is_empty(), "not before its time");
    let later = Timestamp::from_millis(MADE.millis() + i64::try_from(options.application_age.as_millis()).unwrap() + 1);
    let facts = overdue(&*store, &options, later).await.unwrap();
    assert_eq!(facts.len(), 2);
    record(&*store, facts).await;
    assert!(overdue(&*store, &options, later).await.unwrap().is_empty());
    let mut statuses = Vec::new();
    for draft in &drafts {
        statuses.push(by_id(&*store, draft.transaction_id).await.unwrap().status);
    }
    assert_eq!(statuses, [Status::Abandoned, Status::Abandoned, Status::Completed]);
    assert_eq!(by_id(&*store, write.transaction_id).await.unwrap().status, Status::Attempting, "no write is given up");
}
