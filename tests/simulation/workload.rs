//! What the simulated clients do: concurrent writes to few collections whose names are used again and again.

use chroma_edge::ids::{CollectionId, LaneId, Scope, Seq};
use chroma_edge::order::{
    AckPolicy, DEFAULT_DATABASE, DEFAULT_TENANT, Deletion, Encoding, Intent, Kind, Merge, Priority, Profile,
};

use crate::body::{Body, Doc, Flaw, OnExisting};
use crate::journal::Row;
use crate::rng::Rng;
use crate::world::Temper;

/// A write to any lane, given the collections that clients have heard of.
pub fn draft(rng: &mut Rng, temper: Temper, collections: &[CollectionId]) -> Row {
    if collections.is_empty() || rng.chance(temper.catalog) {
        catalog_write(rng, collections)
    } else {
        record_write(rng, temper, collections)
    }
}

fn scope(rng: &mut Rng) -> Scope {
    if rng.chance(700) { Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE) } else { Scope::new(DEFAULT_TENANT, "other") }
}

fn name(rng: &mut Rng) -> String {
    ["alpha", "beta", "gamma"][rng.below(3)].to_owned()
}

/// A collection is dropped by its name.
pub fn drop_of(scope: Scope, name: String) -> Row {
    let intent = Intent::Deletes(Deletion::Collection { scope: scope.clone(), name: name.clone() });
    let profile = Profile { kind: Kind::DeleteCollection, merge: None, bytes: 10, priority: Priority::default() };
    row(LaneId::Catalog, profile, intent, AckPolicy::Durable, Body::DeleteCollection { scope, name })
}

fn catalog_write(rng: &mut Rng, collections: &[CollectionId]) -> Row {
    let (scope, name) = (scope(rng), name(rng));
    let roll = rng.below(1000);
    let (kind, intent, body) = match roll {
        0..340 => (
            Kind::CreateCollection,
            Intent::Plain,
            Body::CreateCollection { scope, name, existing: OnExisting::Refuse },
        ),
        340..520 => {
            (Kind::CreateCollection, Intent::Plain, Body::CreateCollection { scope, name, existing: OnExisting::Get })
        }
        520..700 if !collections.is_empty() => {
            let collection = collections[rng.below(collections.len())];
            let new_name = rng.chance(600).then_some(name);
            let intent = if new_name.is_some() { Intent::Renames } else { Intent::Plain };
            (
                Kind::UpdateCollection,
                intent,
                Body::UpdateCollection { collection, new_name, metadata: rng.below(100) as u32 },
            )
        }
        520..850 => (
            Kind::DeleteCollection,
            Intent::Deletes(Deletion::Collection { scope: scope.clone(), name: name.clone() }),
            Body::DeleteCollection { scope, name },
        ),
        850..950 => {
            let scope = Scope::new(DEFAULT_TENANT, "other");
            (Kind::CreateDatabase, Intent::Plain, Body::CreateDatabase(scope))
        }
        950..992 => {
            let scope = Scope::new(DEFAULT_TENANT, "other");
            let intent = Intent::Deletes(Deletion::Database { scope: scope.clone() });
            (Kind::DeleteDatabase, intent, Body::DeleteDatabase(scope))
        }
        _ => (Kind::Reset, Intent::Deletes(Deletion::Everything), Body::Reset),
    };
    let profile = Profile { kind, merge: None, bytes: 10, priority: priority(rng) };
    row(LaneId::Catalog, profile, intent, AckPolicy::Durable, body)
}

fn record_write(rng: &mut Rng, temper: Temper, collections: &[CollectionId]) -> Row {
    let lane = LaneId::Records(collections[rng.below(collections.len())]);
    let (kind, body) = match rng.below(100) {
        0..32 => (Kind::Add, documents(rng, temper, Kind::Add)),
        32..55 => (Kind::Upsert, documents(rng, temper, Kind::Upsert)),
        55..75 => (Kind::Update, documents(rng, temper, Kind::Update)),
        75..85 => (Kind::Delete, Body::DeleteIds(vec![rng.below(12) as u8, rng.below(12) as u8])),
        85..91 => (Kind::Delete, Body::DeleteWhere(rng.below(3) as u32)),
        _ => (Kind::DeleteLimited, Body::DeleteLimited { remainder: rng.below(3) as u32, limit: 1 + rng.below(3) }),
    };
    let merge = match &body {
        Body::Write { docs, .. } if !rng.chance(120) => {
            Some(Merge { docs: docs.len() as u32, encoding: encoding(docs) })
        }
        _ => None,
    };
    let ack_policy = if rng.chance(300) { AckPolicy::Durable } else { AckPolicy::Applied };
    let profile = Profile { kind, merge, bytes: 10, priority: priority(rng) };
    row(lane, profile, Intent::Plain, ack_policy, body)
}

fn priority(rng: &mut Rng) -> Priority {
    Priority::ALL[rng.below(Priority::ALL.len())]
}

fn encoding(docs: &[Doc]) -> Encoding {
    if docs.iter().any(|doc| doc.dimension.is_some()) { Encoding::Base64 } else { Encoding::Absent }
}

fn documents(rng: &mut Rng, temper: Temper, kind: Kind) -> Body {
    let dimension = (kind != Kind::Update || rng.chance(500)).then_some(if rng.chance(60) { 4 } else { 3 });
    let count = if rng.chance(30) { 0 } else { 1 + rng.below(3) };
    let doc = |_| Doc {
        id: rng.below(12) as u8,
        dimension,
        value: rng.below(10_000) as u32,
        document: rng.chance(500).then(|| rng.below(1000) as u32),
        metadata: rng.chance(500).then(|| (rng.below(3) as u8, rng.chance(700).then(|| rng.below(50) as u32))),
    };
    let docs = (0..count).map(doc).collect();
    let flaw = match (rng.chance(temper.refusals), rng.chance(500)) {
        (true, true) => Flaw::Malformed,
        (true, false) => Flaw::RefusedLate,
        (false, _) if rng.chance(4) => Flaw::Unanswerable,
        (false, _) => Flaw::None,
    };
    Body::Write { docs, flaw }
}

fn row(lane: LaneId, profile: Profile, intent: Intent, ack_policy: AckPolicy, body: Body) -> Row {
    Row {
        seq: Seq::ZERO,
        lane,
        profile,
        intent,
        ack_policy,
        body,
        verdict: None,
        resolved: None,
        created: None,
        trimmed: false,
        number: 0,
    }
}
