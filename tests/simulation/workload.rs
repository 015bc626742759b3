//! What the simulated clients do: concurrent writes to few collections whose names are reused.

use chroma_edge::coordinator::adoption::Adoption;
use chroma_edge::coordinator::intent;
use chroma_edge::ids::{CollectionId, LaneId, Scope, Seq};
use chroma_edge::journal::Status;
use chroma_edge::order::{AckPolicy, DEFAULT_DATABASE, DEFAULT_TENANT, Encoding, Kind, Merge, Priority, Profile};

use crate::body::{Body, Doc, Flaw, OnExisting, Wire};
use crate::journal::Row;
use crate::world::Temper;
use testkit::random::Random;

/// Returns a write to any lane, given the collections that clients know.
pub fn draft(rng: &mut Random, temper: Temper, collections: &[CollectionId]) -> Row {
    if collections.is_empty() || rng.per_mille(temper.catalog) {
        catalog_write(rng, collections)
    } else {
        record_write(rng, temper, collections)
    }
}

fn scope(rng: &mut Random) -> Scope {
    if rng.per_mille(700) { Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE) } else { Scope::new(DEFAULT_TENANT, "other") }
}

fn name(rng: &mut Random) -> String {
    ["alpha", "beta", "gamma"][rng.index(3)].to_owned()
}

/// Returns a deletion of a collection by its name.
pub fn drop_of(scope: Scope, name: String) -> Row {
    let profile = Profile::of(Kind::DeleteCollection, 10);
    row(LaneId::Catalog, profile, AckPolicy::Durable, Body::DeleteCollection { scope, name })
}

/// Returns the edge's own entry.
pub fn adoption(adoption: Adoption) -> Row {
    let body = Body::Adopt { adoption, adopted: Vec::new() };
    row(LaneId::Catalog, Profile::of(Kind::Adopt, 10), AckPolicy::Durable, body)
}

fn catalog_write(rng: &mut Random, collections: &[CollectionId]) -> Row {
    let (scope, name) = (scope(rng), name(rng));
    let other = || Scope::new(DEFAULT_TENANT, "other");
    let (kind, body) = match rng.index(1000) {
        0..340 => (Kind::CreateCollection, Body::CreateCollection { scope, name, existing: OnExisting::Refuse }),
        340..520 => (Kind::CreateCollection, Body::CreateCollection { scope, name, existing: OnExisting::Get }),
        520..700 if !collections.is_empty() => {
            let collection = collections[rng.index(collections.len())];
            let new_name = rng.per_mille(600).then_some(name);
            let metadata = rng.index(100) as u32;
            (Kind::UpdateCollection, Body::UpdateCollection { collection, new_name, metadata })
        }
        520..850 => (Kind::DeleteCollection, Body::DeleteCollection { scope, name }),
        850..950 => (Kind::CreateDatabase, Body::CreateDatabase(other())),
        950..992 => (Kind::DeleteDatabase, Body::DeleteDatabase(other())),
        _ => (Kind::Reset, Body::Reset),
    };
    let profile = Profile { priority: priority(rng), ..Profile::of(kind, 10) };
    row(LaneId::Catalog, profile, AckPolicy::Durable, body)
}

fn record_write(rng: &mut Random, temper: Temper, collections: &[CollectionId]) -> Row {
    let lane = LaneId::Records(collections[rng.index(collections.len())]);
    let (kind, body) = match rng.index(100) {
        0..32 => (Kind::Add, documents(rng, temper, Kind::Add)),
        32..55 => (Kind::Upsert, documents(rng, temper, Kind::Upsert)),
        55..75 => (Kind::Update, documents(rng, temper, Kind::Update)),
        75..85 => (Kind::Delete, Body::DeleteIds(vec![rng.index(12) as u8, rng.index(12) as u8])),
        85..91 => (Kind::Delete, Body::DeleteWhere(rng.index(3) as u32)),
        _ => (Kind::DeleteLimited, Body::DeleteLimited { remainder: rng.index(3) as u32, limit: 1 + rng.index(3) }),
    };
    let merge = match &body {
        Body::Write { docs, .. } if !rng.per_mille(120) => {
            Some(Merge { docs: docs.len() as u32, encoding: encoding(docs) })
        }
        _ => None,
    };
    // A write that may fail by its own fault is not vouched for: its client is answered when the outcome is durable.
    let failing = matches!(&body, Body::Write { flaw: Flaw::Failing, .. });
    let ack_policy = if rng.per_mille(300) || failing { AckPolicy::Durable } else { AckPolicy::Applied };
    let profile = Profile { merge, priority: priority(rng), ..Profile::of(kind, 10) };
    row(lane, profile, ack_policy, body)
}

fn priority(rng: &mut Random) -> Priority {
    Priority::ALL[rng.index(Priority::ALL.len())]
}

fn encoding(docs: &[Doc]) -> Encoding {
    if docs.iter().any(|doc| doc.dimension.is_some()) { Encoding::Base64 } else { Encoding::Absent }
}

fn documents(rng: &mut Random, temper: Temper, kind: Kind) -> Body {
    let dimension = (kind != Kind::Update || rng.per_mille(500)).then_some(if rng.per_mille(60) { 4 } else { 3 });
    let count = if rng.per_mille(30) { 0 } else { 1 + rng.index(3) };
    let doc = |_| Doc {
        id: rng.index(12) as u8,
        dimension,
        value: rng.index(10_000) as u32,
        document: rng.per_mille(500).then(|| rng.index(1000) as u32),
        metadata: rng.per_mille(500).then(|| (rng.index(3) as u8, rng.per_mille(700).then(|| rng.index(50) as u32))),
    };
    let docs = (0..count).map(doc).collect();
    let flaw = match (rng.per_mille(temper.refusals), rng.per_mille(500)) {
        (true, true) => Flaw::Malformed,
        (true, false) => Flaw::RefusedLate,
        (false, _) if rng.per_mille(4) => Flaw::Unanswerable,
        (false, _) if rng.per_mille(12) => Flaw::Failing,
        (false, _) => Flaw::None,
    };
    Body::Write { docs, flaw }
}

/// Builds a row. Its intent is what the edge reads from the request.
fn row(lane: LaneId, profile: Profile, ack_policy: AckPolicy, body: Body) -> Row {
    let Wire { method, path, body: bytes } = body.wire();
    let intent = intent::of(profile.kind, method, &path, bytes.as_bytes());
    Row {
        seq: Seq::ZERO,
        lane,
        profile,
        intent,
        ack_policy,
        body,
        status: Status::Attempting,
        verdict: None,
        resolved: None,
        created: None,
        trimmed: false,
        deadly: None,
        suspect_on: None,
        lifted: false,
        number: 0,
    }
}
