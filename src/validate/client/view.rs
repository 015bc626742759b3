//! One instance as it can be read: directly, if the operator gave its address, or through the deployment with the pin
//! header. It only reads, and decides whether an answer is that instance's.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::database_path::DatabasePath;
use super::error::CallError;
use super::mapped::Mapped;
use super::own::OwnName;
use super::wire::{Answer, Call, Wire};
use crate::validate::content::{self, Record};

/// The header that pins a read to an instance, and names the one that answered.
pub const PIN: &str = "chroma-edge-instance";
const PAGE: usize = 500;
const PAGE_OF_AN_EDGE: Duration = Duration::from_secs(10);

/// How the instance is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    Pinned,
}

/// A view of one instance.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub way: Way,
    wire: Wire,
    place: DatabasePath,
    /// The ids that it should have, if it shows its own.
    mapped: Option<Mapped>,
    /// Why it is not read, if it is away.
    away: Option<String>,
}

/// A collection as an instance shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The instance's own id if it is read directly, otherwise the deployment's.
    pub id: String,
    pub metadata: Value,
}

impl View {
    /// Creates a view at the instance's own address. Its ids, which the deployment behind `edge` knows, identify it.
    pub fn direct(name: &str, wire: Wire, place: DatabasePath, edge: &Wire) -> View {
        let mapped = Some(Mapped::of(edge, name));
        View { name: name.to_owned(), way: Way::Direct, wire, place, mapped, away: None }
    }

    /// Creates a view through the deployment.
    pub fn pinned(name: &str, wire: &Wire, place: DatabasePath) -> Result<View, String> {
        let wire = wire.with(PIN, name)?;
        Ok(View { name: name.to_owned(), way: Way::Pinned, wire, place, mapped: None, away: None })
    }

    /// Returns a view of the same instance through the deployment.
    pub fn pinned_through(&self, wire: &Wire) -> Result<View, String> {
        Ok(View { away: self.away.clone(), ..Self::pinned(&self.name, wire, self.place.clone())? })
    }

    /// Returns the same view marked as away, for this reason.
    pub fn away(self, why: String) -> View {
        View { away: Some(why), ..self }
    }

    /// Returns whether it shows the instance's own ids.
    pub fn is_direct(&self) -> bool {
        self.way == Way::Direct
    }

    /// Returns its name in messages.
    pub fn label(&self) -> String {
        match self.way {
            Way::Direct => format!("{} at {}", self.name, self.wire.base()),
            Way::Pinned => format!("{} through the edge", self.name),
        }
    }

    /// Returns whether an edge answers at the instance's own address, judged by the page that every edge has.
    pub fn is_an_edge(&self) -> bool {
        let page = self.wire.hurried(PAGE_OF_AN_EDGE).get("/health").ok();
        let page = page.and_then(|answer| answer.json().ok()).unwrap_or_default();
        page["status"].is_string() && (page["total_instances"].is_number() || page["journal"].is_string())
    }

    /// Returns the collection of this name, if the instance has it.
    pub fn collection(&self, name: &OwnName) -> Result<Option<Shown>, CallError> {
        if let Some(why) = &self.away {
            return Err(CallError::Away(why.clone()));
        }
        let answer = self.wire.get(&self.place.collection(name.as_str()))?;
        if answer.status == 404 {
            return Ok(None);
        }
        let answer = self.checked(answer.expect(200)?)?;
        let shown = answer.json()?;
        let Some(id) = shown["id"].as_str() else {
            return Err(CallError::nonsense(&answer, "what is no collection"));
        };
        if let Some(mapped) = &self.mapped {
            mapped.expect(&self.label(), name, id)?;
        }
        Ok(Some(Shown { id: id.to_owned(), metadata: shown["metadata"].clone() }))
    }

    /// Returns every record of the collection of this name; `None` if there is no such collection.
    pub fn records(&self, name: &OwnName) -> Result<Option<Vec<Record>>, CallError> {
        let Some(shown) = self.collection(name)? else { return Ok(None) };
        let path = self.place.operation(&shown.id, "get");
        let mut all: Vec<Record> = Vec::new();
        loop {
            let body = json!({ "limit": PAGE, "offset": all.len(), "include": content::INCLUDED });
            let answer = self.wire.send(&Call { method: Method::POST, path: &path, body: Some(&body) })?.expect(200)?;
            let answer = self.checked(answer)?;
            let page = content::records(&answer.body).map_err(|why| CallError::nonsense(&answer, &why))?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(Some(all));
            }
        }
    }

    /// Returns the answer if it came from this instance.
    fn checked(&self, answer: Answer) -> Result<Answer, CallError> {
        match (self.way, answer.header(PIN)) {
            (Way::Pinned, by) if by != Some(self.name.as_str()) => {
                let by = by.unwrap_or("nobody by name");
                Err(CallError::nonsense(&answer, &format!("the answer of {by}, pinned to {}", self.name)))
            }
            (Way::Direct, Some(by)) => {
                let what =
                    format!("the answer of an edge (by its {by}): {} is not {}'s own", self.wire.base(), self.name);
                Err(CallError::nonsense(&answer, &what))
            }
            _ => Ok(answer),
        }
    }
}
