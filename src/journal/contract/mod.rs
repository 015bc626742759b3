//! The journal's contract: what every store must do, written once and run on each.
//!
//! A store's own tests provide a [`Bench`] that can reopen the same journal, and expand [`contract_suite`].

pub(in crate::journal) mod appends;
pub(in crate::journal) mod application;
pub(in crate::journal) mod audit;
pub(in crate::journal) mod catalog;
pub(in crate::journal) mod events;
pub(in crate::journal) mod facts;
pub(in crate::journal) mod faults;
pub(in crate::journal) mod moving;
pub(in crate::journal) mod quarantine;
pub(in crate::journal) mod retention;
pub(in crate::journal) mod sizing;
pub(in crate::journal) mod times;
pub(in crate::journal) mod views;

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceName, LaneId, Scope, Seq, TraceContext, TransactionId};
use crate::order::{
    AckPolicy, CatalogChange, Conditions, Encoding, Generation, Kind, LaneState, Merge, Origin, Priority, Profile,
    Verdict, Vouching,
};

/// Opens the store under test. After the store is dropped, it opens the same journal again.
pub(in crate::journal) trait Bench {
    fn open(&self) -> Arc<dyn Store>;
}

/// Runs every function of the contract as a test of its own.
macro_rules! contract_suite {
    ($bench:expr) => {
        $crate::journal::contract::contract_suite! { @ $bench;
            appends: positions_are_consecutive_and_in_order, appends_survive_reopening, a_batch_is_all_or_nothing,
                a_taken_key_makes_nothing_durable, keys_are_scoped_by_tenant, a_request_comes_back_as_it_went_in,
                a_restart_knows_whose_answer_waited_for_the_journal;
            application: an_operation_is_journaled_once, an_operation_is_reported_by_the_rule,
                only_an_operation_can_be_reported, an_operation_is_nobodys_work, an_operation_holds_nothing_back,
                what_operations_take_is_counted_apart, a_client_that_has_half_of_its_share_makes_room_for_itself_alone,
                what_operations_take_is_what_a_look_at_each_shows, what_nobody_ends_is_given_up_in_its_time;
            audit: pages_hold_everything_once_newest_first, a_filter_matches_by_each_of_its_parts,
                counts_equal_a_full_scan, what_is_recent_is_counted_from_its_moment, details_tell_the_lane,
                a_key_alone_finds_the_newest;
            events: each_change_is_one_event, an_operation_that_fails_often_is_one_event,
                a_gap_comes_before_its_end, a_session_sees_its_own,
                events_come_in_pages_and_stay, what_is_cut_off_has_its_event, what_no_instance_answered_says_why,
                what_is_removed_is_said, a_delivery_is_remembered;
            facts: progress_never_moves_backwards, a_settled_entry_never_changes, statuses_follow_the_rule,
                states_in_a_lane_change_and_keep_the_progress, facts_about_nothing_are_no_error, facts_apply_in_order,
                a_failed_attempt_is_counted_and_announces_the_next, what_is_finished_at_the_start_is_retried_no_more,
                a_resolution_replaces_the_body_once, a_marker_never_goes_back, totals_count_every_status,
                what_was_cut_off_is_finished_at_the_start;
            faults: faults_of_a_lane_are_counted_in_a_row_and_forgotten;
            catalog: a_new_journal_has_the_defaults, changes_are_idempotent, deleting_a_database_deletes_its_collections,
                a_reset_leaves_the_defaults, a_mapping_of_a_deleted_collection_is_nothing,
                a_deleted_collections_lane_is_not_loaded, a_deleted_collection_is_remembered_until_trimmed;
            quarantine: a_profile_comes_back_with_its_vouching, what_is_not_vouched_for_is_answered_when_it_is_durable,
                who_died_of_an_open_entry_is_remembered, what_is_quarantined_is_listed_until_it_is_lifted,
                retention_keeps_what_is_quarantined_and_goes_on_behind_it, a_quarantine_goes_with_its_collection,
                a_quarantined_copy_stays_so_until_it_is_diverged_or_in_step;
            times: collections_are_created_and_changed_at_their_moments, transactions_are_journaled_at_theirs;
            retention: a_lanes_history_begins_at_its_floor, trimming_waits_for_every_configured_instance, trimming_stops_at_an_open_entry,
                trimming_asks_no_diverged_instance, nothing_is_trimmed_without_an_instance_in_step,
                positions_are_never_reused, trimming_is_bounded, what_must_stay_hides_nothing_that_may_go, a_trimmed_key_is_free_again,
                a_deleted_lane_is_forgotten, loading_starts_at_the_lowest_instance, a_round_removes_all_that_may_go,
                for_room_two_must_be_in_step, for_room_one_is_enough_if_one_alone_is_configured, what_is_held_is_told_by_lane_and_instance,
                room_is_made_before_the_time_and_the_oldest_goes_first, a_journal_over_its_limit_names_who_holds_it;
        }
    };
    (@ $bench:expr; $($capacity:ident: $($test:ident),+;)+) => {
        $($(
            #[tokio::test]
            async fn $test() {
                $crate::journal::contract::$capacity::$test(&$bench).await;
            }
        )+)+
    };
}
pub(in crate::journal) use contract_suite;

/// The trace context of every draft here.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// When every draft here was made.
pub(crate) const MADE: Timestamp = Timestamp::from_millis(1_000);
/// When every transaction here is completed.
pub(crate) const DONE: Timestamp = Timestamp::from_millis(2_000);
/// A moment after all of these.
pub(crate) const LATER: Timestamp = Timestamp::from_millis(3_000);

pub(crate) fn instances() -> [InstanceName; 2] {
    [InstanceName::new("primary"), InstanceName::new("replica")]
}

pub(crate) fn new_collection() -> CollectionId {
    CollectionId::new(Uuid::now_v7())
}

pub(crate) fn draft(lane: LaneId, body: &'static str) -> Draft {
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane,
        profile: Profile {
            kind: Kind::Upsert,
            merge: Some(Merge { docs: 3, encoding: Encoding::Base64 }),
            bytes: body.len() as u64,
            priority: Priority::High,
            vouching: Vouching::Vouched,
            conditions: Conditions::None,
        },
        method: "POST".to_owned(),
        path: "/api/v2/tenants/t/databases/d/collections/c/upsert?x=1".to_owned(),
        content_type: Some("application/json".to_owned()),
        body: Bytes::from_static(body.as_bytes()),
        created_at: MADE,
        client_session: Some("session".to_owned()),
        client_ip: Some("127.0.0.1".to_owned()),
        user_identifier: Some("someone".to_owned()),
        trace_context: TraceContext::parse(TRACE),
        instead_of: None,
    }
}

pub(crate) fn keyed(tenant: &str, key: &str) -> Draft {
    let client_key = ClientKey { tenant: tenant.to_owned(), key: key.to_owned(), fingerprint: [7; 32] };
    Draft { client_key: Some(client_key), ..draft(LaneId::Catalog, "keyed") }
}

pub(crate) async fn append(store: &dyn Store, drafts: Vec<Draft>) -> Vec<Seq> {
    store.commit(Batch { appends: drafts, facts: Vec::new() }).await.unwrap()
}

pub(crate) async fn record(store: &dyn Store, facts: Vec<Fact>) {
    store.commit(Batch { appends: Vec::new(), facts }).await.unwrap();
}

pub(crate) async fn load(store: &dyn Store) -> Snapshot {
    store.load(&instances()).await.unwrap()
}

pub(crate) async fn by_id(store: &dyn Store, id: TransactionId) -> Option<TransactionRow> {
    store.transaction(&Lookup::Id(id)).await.unwrap()
}

pub(crate) fn progress(lane: LaneId, instance: &str, through: Seq) -> Fact {
    Fact::Progress { lane, instance: InstanceName::new(instance), through }
}

pub(crate) fn applied(seq: Seq) -> Fact {
    let answer = StoredAnswer { status: 201, body: Bytes::from_static(b"{}") };
    Fact::Verdict { seq, verdict: Verdict::Applied, by: Some(InstanceName::new("primary")), answer: Some(answer) }
}

pub(crate) fn status(seq: Seq, status: Status) -> Fact {
    Fact::Status {
        seq,
        status,
        response_status: Some(201),
        failure_reason: None,
        timing_gap: TimingGap::No,
        executed_on: None,
        at: DONE,
    }
}

/// Returns the facts of entries that an instance applied and whose clients were answered.
pub(crate) fn finished(seqs: &[Seq]) -> Vec<Fact> {
    seqs.iter().flat_map(|seq| [applied(*seq), status(*seq, Status::Completed)]).collect()
}

pub(crate) fn created(collection: CollectionId, name: &str, created: Seq) -> Fact {
    let scope = Scope::new("default_tenant", "default_database");
    Fact::Catalog(CatalogChange::CollectionCreated {
        collection,
        scope,
        name: name.to_owned(),
        created,
        origin: Origin::Created,
    })
}

pub(crate) fn positions(snapshot: &Snapshot) -> Vec<Seq> {
    snapshot.entries.iter().map(|entry| entry.seq).collect()
}

pub(crate) fn through(snapshot: &Snapshot, instance: &str) -> Vec<(LaneId, Seq)> {
    let of = snapshot.progress.iter().filter(|row| row.instance.as_str() == instance);
    of.map(|row| (row.lane, row.through)).collect()
}
