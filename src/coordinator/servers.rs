//! What each server can do, or why the edge does not support it, and what follows for all of them together: no client
//! may rely on something that one of them cannot do.
//!
//! It decides nothing about any one server: `rejoin/` inspects and reports here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::chroma::{ByIdRoute, Capabilities, CopiedBy, Feature, MetadataArrays};
use crate::ids::InstanceId;

/// The hash of a server's openapi document. Servers with the same document have the same capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentHash(pub u64);

/// What was found out about a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    Supported(Capabilities),
    /// Nothing is sent to it, for this reason.
    Unsupported(String),
}

#[derive(Clone, Debug)]
struct Known {
    /// `None`: it showed no document that could be relied on, and is tried again at the next inspection.
    document: Option<DocumentHash>,
    found: Support,
}

/// What is known about the servers.
#[derive(Debug)]
pub struct Servers(Mutex<Vec<Option<Known>>>);

impl Servers {
    /// Creates the state for this many servers, with nothing known about them.
    pub(super) fn new(instances: usize) -> Servers {
        Servers(Mutex::new(vec![None; instances]))
    }

    /// Returns what the instance can do, if it has been inspected and is supported.
    pub fn capabilities(&self, instance: InstanceId) -> Option<Capabilities> {
        match &self.known()[instance.0].as_ref()?.found {
            Support::Supported(capabilities) => Some(*capabilities),
            Support::Unsupported(_) => None,
        }
    }

    /// Returns why the instance is not supported, if it is not.
    pub fn why_unsupported(&self, instance: InstanceId) -> Option<String> {
        match &self.known()[instance.0].as_ref()?.found {
            Support::Unsupported(why) => Some(why.clone()),
            Support::Supported(_) => None,
        }
    }

    /// Returns whether the instance has a route by id. An unknown instance is asked by name, which every server
    /// understands.
    pub fn by_id(&self, instance: InstanceId) -> ByIdRoute {
        self.capabilities(instance).map_or(ByIdRoute::Absent, |can| can.by_id)
    }

    /// Returns whether some instance is known to have no route by id.
    pub fn some_lack_by_id(&self) -> bool {
        self.supported().iter().any(|can| can.by_id == ByIdRoute::Absent)
    }

    /// Returns how definitions are copied to the instance.
    pub fn copied_by(&self, instance: InstanceId) -> CopiedBy {
        self.capabilities(instance).map_or(CopiedBy::Configuration, |can| can.copied_by)
    }

    /// Returns whether only some servers have this feature: what used it could not be copied to the others.
    pub fn is_uneven(&self, feature: Feature) -> bool {
        let supported = self.supported();
        let has = |can: &Capabilities| match feature {
            Feature::Schemas => can.copied_by == CopiedBy::Schema,
            Feature::MetadataArrays => can.arrays == MetadataArrays::Taken,
        };
        supported.iter().any(has) && !supported.iter().all(has)
    }

    /// Returns why nothing can be written at all, if every server has been inspected and none is supported.
    pub fn why_none_is_supported(&self) -> Option<String> {
        let known = self.known();
        let unsupported = |one: &Option<Known>| match one {
            Some(Known { found: Support::Unsupported(why), .. }) => Some(why.clone()),
            _ => None,
        };
        let reasons: Option<Vec<String>> = known.iter().map(unsupported).collect();
        reasons.and_then(|reasons| reasons.into_iter().next())
    }

    /// Returns what was found out about the server, if it showed this document.
    pub(crate) fn of_document(&self, instance: InstanceId, document: DocumentHash) -> Option<Support> {
        let known = self.known();
        known[instance.0].as_ref().filter(|known| known.document == Some(document)).map(|known| known.found.clone())
    }

    /// Notes what was found out about the instance. Returns whether that is new.
    pub(crate) fn learn(&self, instance: InstanceId, document: Option<DocumentHash>, found: Support) -> bool {
        let mut known = self.known();
        let new = known[instance.0].as_ref().is_none_or(|before| before.found != found);
        known[instance.0] = Some(Known { document, found });
        new
    }

    fn supported(&self) -> Vec<Capabilities> {
        let supported = |known: &Known| match known.found {
            Support::Supported(capabilities) => Some(capabilities),
            Support::Unsupported(_) => None,
        };
        self.known().iter().flatten().filter_map(supported).collect()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Option<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstanceId = InstanceId(0);
    const B: InstanceId = InstanceId(1);
    const NEW: Capabilities =
        Capabilities { by_id: ByIdRoute::Present, copied_by: CopiedBy::Schema, arrays: MetadataArrays::Taken };
    const OLD: Capabilities =
        Capabilities { by_id: ByIdRoute::Absent, copied_by: CopiedBy::Configuration, arrays: MetadataArrays::Refused };

    #[test]
    fn a_pair_follows_the_weaker() {
        let servers = Servers::new(2);
        assert!(servers.learn(A, Some(DocumentHash(1)), Support::Supported(NEW)));
        assert!(
            !servers.is_uneven(Feature::MetadataArrays) && !servers.some_lack_by_id(),
            "the other one is not known"
        );
        assert!(servers.learn(B, Some(DocumentHash(2)), Support::Supported(OLD)));
        assert!(
            servers.is_uneven(Feature::MetadataArrays)
                && servers.is_uneven(Feature::Schemas)
                && servers.some_lack_by_id()
        );
        assert!(servers.learn(A, Some(DocumentHash(2)), Support::Supported(OLD)));
        assert!(!servers.is_uneven(Feature::MetadataArrays) && !servers.is_uneven(Feature::Schemas), "both alike");
        assert!(!servers.learn(A, Some(DocumentHash(2)), Support::Supported(OLD)));
    }

    #[test]
    fn a_server_is_the_same_as_long_as_its_document_is() {
        let servers = Servers::new(1);
        assert_eq!(servers.by_id(A), ByIdRoute::Absent, "not known yet");
        servers.learn(A, Some(DocumentHash(1)), Support::Supported(NEW));
        assert_eq!(servers.of_document(A, DocumentHash(1)), Some(Support::Supported(NEW)));
        assert_eq!(servers.of_document(A, DocumentHash(2)), None);
        servers.learn(A, None, Support::Supported(OLD));
        assert_eq!(servers.of_document(A, DocumentHash(1)), None, "it is tried again");
    }

    #[test]
    fn nothing_is_written_where_no_server_is_supported() {
        let servers = Servers::new(2);
        servers.learn(A, Some(DocumentHash(1)), Support::Unsupported("why".to_owned()));
        assert_eq!(servers.why_none_is_supported(), None, "the other one may be");
        assert_eq!(servers.why_unsupported(A).as_deref(), Some("why"));
        servers.learn(B, Some(DocumentHash(1)), Support::Unsupported("why".to_owned()));
        assert_eq!(servers.why_none_is_supported().as_deref(), Some("why"));
        servers.learn(B, Some(DocumentHash(2)), Support::Supported(OLD));
        assert_eq!(servers.why_none_is_supported(), None);
    }
}
