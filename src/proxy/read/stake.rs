//! What is at stake with a read: its class and size, and whether and where it may be sent now (rule R13).
//!
//! The rules are those of `order` and `chroma`. Reads without a body harm no instance.

use std::sync::Arc;

use bytes::Bytes;

use super::{Read, Target};
use crate::chroma::{self, Operation, RecordReadKind, Shape, Verb};
use crate::order::{ReadClass, ReadKind, ReadSubject, Vouching};
use crate::proxy::failure::{Failure, Refused};
use crate::proxy::{Edge, quarantine};

/// Measures the read, refuses it if it is over a limit or held back, and binds it to one instance if it is tried alone.
///
/// # Errors
/// Why the read is not sent.
pub fn stake(edge: &Edge, read: &mut Read, body: &Bytes) -> Result<(), Failure> {
    let Operation::RecordRead { kind: kind @ (RecordReadKind::Get | RecordReadKind::Query), .. } = read.operation
    else {
        return Ok(());
    };
    let measured = chroma::scan_read(body).map_err(Failure::Refused)?;
    // Chroma would close the connection, which would look like a crash.
    if kind == RecordReadKind::Query && measured.asks_for_none() {
        return Err(Failure::CrashesChroma("n_results must be at least 1"));
    }
    edge.options().limits.check(&measured).map_err(Failure::Refused)?;
    let Target::Collection(collection) = read.target else { return Ok(()) };
    let shape = Shape::of(Verb::Read(kind), &measured, body.len(), edge.vouch.index_of(collection));
    let kind = if kind == RecordReadKind::Query { ReadKind::Query } else { ReadKind::Get };
    let subject = ReadSubject { collection, class: ReadClass { kind, conditions: shape.conditions } };
    let (stake, alone) = edge.vouch.stake(subject, shape, body)?;
    if stake.vouching() == Vouching::Unvouched {
        quarantine::by_writes(&edge.core, subject)?;
    }
    if let Some(instance) = alone {
        if read.pin.is_some_and(|pin| pin != instance) {
            return Err(Failure::Quarantine(Refused::elsewhere(edge.registry.name(instance).as_str())));
        }
        read.pin = Some(instance);
    }
    read.stake = Some(Arc::new(stake));
    Ok(())
}
