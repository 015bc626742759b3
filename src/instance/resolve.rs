//! From an instance's configured host to its address.
//!
//! Names are resolved at the start, and again only for an instance that is not well: a failing name service must not
//! disturb an instance that is up. A literal address is never looked up.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;

use super::phase::{Observation, Phase};
use super::registry::Registry;

/// Looks up every instance that needs it, all at once and within `limit`, and updates the registry.
pub(super) async fn resolve(registry: &Registry, limit: Duration) {
    let mut lookups = JoinSet::new();
    for id in registry.ids() {
        let url = registry.url(id);
        if url.literal().is_none() && (registry.address(id).is_none() || !well(registry.phase(id))) {
            let (host, port) = (url.host().to_owned(), url.port());
            #[allow(clippy::disallowed_methods, reason = "one for each host name, and each ends at its time limit")]
            lookups.spawn(async move { (id, look_up(host, port, limit).await) });
        }
    }
    while let Some(finished) = lookups.join_next().await {
        let Ok((id, result)) = finished else { continue };
        match result {
            Ok(found) => registry.located(id, choose(&found, registry.address(id), registry.phase(id))),
            // The known address may still be right: the probes will tell.
            Err(reason) if registry.address(id).is_some() => {
                tracing::debug!(reason, "cannot resolve the host: keeping the known address")
            }
            Err(reason) => registry.observe_because(id, Observation::ProbeFailed, &reason),
        }
    }
}

fn well(phase: Phase) -> bool {
    matches!(phase, Phase::Up | Phase::Suspect | Phase::Returned)
}

async fn look_up(host: String, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(limit, tokio::net::lookup_host((host.as_str(), port))).await;
    let mut found: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(format!("cannot resolve {host}: {error}")),
        Err(_) => return Err(format!("cannot resolve {host}: no answer within {limit:?}")),
    };
    // Chroma listens on IPv4 unless told otherwise.
    found.sort_by_key(SocketAddr::is_ipv6);
    if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
}

/// Returns the current address as long as it is among those found, or the next one if nothing answers there: a name may
/// stand for an IPv4 and an IPv6 address while the server listens on only one of them.
fn choose(found: &[SocketAddr], current: Option<SocketAddr>, phase: Phase) -> SocketAddr {
    let place = current.and_then(|current| found.iter().position(|address| *address == current));
    match place {
        None => found[0],
        Some(place) if phase == Phase::Down => found[(place + 1) % found.len()],
        Some(place) => found[place],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_address_is_tried_when_nothing_answers_at_this_one() {
        let [a, b, c] = [1, 2, 3].map(|last| SocketAddr::from(([127, 0, 0, last], 80)));
        assert_eq!(choose(&[a, b], None, Phase::Unknown), a);
        assert_eq!(choose(&[a, b], Some(b), Phase::Unknown), b);
        assert_eq!(choose(&[a, b], Some(a), Phase::Down), b);
        assert_eq!(choose(&[a, b], Some(b), Phase::Down), a);
        assert_eq!(choose(&[a], Some(a), Phase::Down), a);
        assert_eq!(choose(&[a, b], Some(c), Phase::Down), a, "the name has moved");
    }
}
