//! Answers for the client: ids replaced; lists reduced to what the catalog contains, sorted and paged.
//!
//! `None` means that the body is not what Chroma returns here. The caller decides what to do then.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::chroma::route::Window;
use crate::ids::{CollectionId, InstanceCollectionId};

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(default)]
    name: Option<String>,
}

impl Identified<'_> {
    fn uuid(&self) -> Option<Uuid> {
        Uuid::try_parse(self.id.get().trim_matches('"')).ok()
    }
}

/// Returns one Collection object with the id that clients know; also `None` if the map lacks the instance's id.
pub fn collection_response(
    body: &[u8],
    map: impl FnOnce(InstanceCollectionId) -> Option<CollectionId>,
) -> Option<Vec<u8>> {
    let collection: Identified<'_> = serde_json::from_slice(body).ok()?;
    let id = map(InstanceCollectionId::new(collection.uuid()?))?;
    with_id(body, collection.id, id.uuid())
}

/// Returns a list of the Collection objects that the map contains, with the ids that clients know, sorted by them
/// (Chroma sorts by collection id), then paged. `body` must be the whole list: request it from the instance without a
/// page.
pub fn collection_list(
    body: &[u8],
    map: impl Fn(InstanceCollectionId) -> Option<CollectionId>,
    page: Window,
) -> Option<Vec<u8>> {
    let mut known = known_collections(body, map)?;
    known.sort_by_key(|(id, _)| *id);
    join(page.select(known).into_iter().map(|(id, item)| rewritten(item, id.uuid())))
}

/// Returns each Collection object of a list that the map contains, with the id that clients know, in the list's order.
pub fn listed_collections(
    body: &[u8],
    map: impl Fn(InstanceCollectionId) -> Option<CollectionId>,
) -> Option<Vec<(CollectionId, Vec<u8>)>> {
    let known = known_collections(body, map)?;
    known.into_iter().map(|(id, item)| Some((id, rewritten(item, id.uuid())?))).collect()
}

fn known_collections(
    body: &[u8],
    map: impl Fn(InstanceCollectionId) -> Option<CollectionId>,
) -> Option<Vec<(CollectionId, &RawValue)>> {
    let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let mut known = Vec::with_capacity(items.len());
    for item in items {
        let collection: Identified<'_> = serde_json::from_str(item.get()).ok()?;
        if let Some(id) = map(InstanceCollectionId::new(collection.uuid()?)) {
            known.push((id, item));
        }
    }
    Some(known)
}

/// Returns whether this is a Collection object with this id.
pub fn is_collection(body: &[u8], id: CollectionId) -> bool {
    let shown = serde_json::from_slice::<Identified<'_>>(body);
    shown.is_ok_and(|shown| shown.name.is_some() && shown.uuid() == Some(id.uuid()))
}

/// Returns one Database object, found by its name, with the id that clients know; also `None` if the map lacks the name.
pub fn database_response(body: &[u8], map: impl FnOnce(&str) -> Option<Uuid>) -> Option<Vec<u8>> {
    let database: Identified<'_> = serde_json::from_slice(body).ok()?;
    let id = map(database.name.as_deref()?)?;
    with_id(body, database.id, id)
}

/// Returns a list of the Database objects that the map contains, in the instance's order (Chroma sorts by name, so it
/// is the same on every instance), then paged. `body` must be the whole list.
pub fn database_list(body: &[u8], map: impl Fn(&str) -> Option<Uuid>, page: Window) -> Option<Vec<u8>> {
    let items: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let mut known = Vec::with_capacity(items.len());
    for item in items {
        let database: Identified<'_> = serde_json::from_str(item.get()).ok()?;
        if let Some(id) = map(database.name.as_deref()?) {
            known.push((id, item));
        }
    }
    join(page.select(known).into_iter().map(|(id, item)| rewritten(item, id)))
}

/// Returns an error body with every occurrence of the instance's id replaced by the id that clients know. Chroma writes
/// ids in its messages in lower case with dashes, so the length stays the same.
pub fn error_text(body: &[u8], instance: InstanceCollectionId, collection: CollectionId) -> Vec<u8> {
    let (from, to) = (instance.to_string(), collection.to_string());
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut text = body.to_vec();
    let mut at = 0;
    while let Some(window) = text.get_mut(at..at + from.len()) {
        if window == from {
            window.copy_from_slice(to);
            at += from.len();
        } else {
            at += 1;
        }
    }
    text
}

fn rewritten(item: &RawValue, id: Uuid) -> Option<Vec<u8>> {
    let body = item.get().as_bytes();
    let head: Identified<'_> = serde_json::from_slice(body).ok()?;
    with_id(body, head.id, id)
}

/// `id` is a slice of `body`, so its position follows from where its text starts.
fn with_id(body: &[u8], id: &RawValue, new: Uuid) -> Option<Vec<u8>> {
    let start = (id.get().as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let end = start.checked_add(id.get().len())?;
    let (before, after) = (body.get(..start)?, body.get(end..)?);
    Some([before, format!("\"{}\"", new.hyphenated()).as_bytes(), after].concat())
}

fn join(items: impl Iterator<Item = Option<Vec<u8>>>) -> Option<Vec<u8>> {
    let mut list = vec![b'['];
    for item in items {
        if list.len() > 1 {
            list.push(b',');
        }
        list.extend_from_slice(&item?);
    }
    list.push(b']');
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn collection(n: u128, rest: &str) -> String {
        format!(r#"{{"name":"c{n}","metadata":{{"id":"x","f":1.0,"n":9007199254740993}}{rest},"id":"{}"}}"#, id(n))
    }

    fn map(instance: InstanceCollectionId) -> Option<CollectionId> {
        let number = instance.uuid().as_u128();
        (number < 100).then(|| CollectionId::new(id(1000 - number)))
    }

    fn text(bytes: Option<Vec<u8>>) -> Option<String> {
        bytes.map(|b| String::from_utf8(b).unwrap())
    }

    #[test]
    fn only_the_id_of_a_collection_changes() {
        let body = collection(7, r#","big":123456789012345678901234567890"#);
        let expected = body.replace(&id(7).to_string(), &id(993).to_string());
        assert_eq!(text(collection_response(body.as_bytes(), map)), Some(expected));
        assert_eq!(collection_response(collection(100, "").as_bytes(), map), None);
        for broken in ["", "[]", "{}", r#"{"id":1}"#, r#"{"id":"x"}"#, "null"] {
            assert_eq!(collection_response(broken.as_bytes(), map), None, "{broken}");
        }
    }

    #[test]
    fn lists_are_sorted_by_the_id_clients_know_and_then_paged() {
        let body =
            format!("[{},{} , {},{}]", collection(1, ""), collection(2, ""), collection(100, ""), collection(3, ""));
        let expected = |ns: &[u128]| {
            let items: Vec<String> =
                ns.iter().map(|n| collection(*n, "").replace(&id(*n).to_string(), &id(1000 - n).to_string())).collect();
            Some(format!("[{}]", items.join(",")))
        };
        let page = |limit, offset| text(collection_list(body.as_bytes(), map, Window { limit, offset }));
        assert_eq!(page(None, None), expected(&[3, 2, 1]));
        assert_eq!(page(Some(1), Some(1)), expected(&[2]));
        assert_eq!(page(Some(0), None), expected(&[]));
        assert_eq!(collection_list(b"{}", map, Window::default()), None);
    }

    #[test]
    fn the_objects_of_a_list_are_told_apart() {
        let body = format!("[{}, {},{}]", collection(1, ""), collection(100, ""), collection(2, ""));
        let found = listed_collections(body.as_bytes(), map).unwrap();
        let shown = |n: u128| collection(n, "").replace(&id(n).to_string(), &id(1000 - n).to_string());
        let expected = [1, 2].map(|n: u128| (CollectionId::new(id(1000 - n)), shown(n).into_bytes()));
        assert_eq!(found, expected);
        assert!(found.iter().all(|(id, body)| is_collection(body, *id)));
        assert!(!is_collection(&found[0].1, found[1].0));
        assert!(!is_collection(b"<html>", found[0].0));
        assert_eq!(listed_collections(b"{}", map), None);
    }

    #[test]
    fn databases_are_known_by_name() {
        let body = format!(r#"{{"id":"{}","name":"d","tenant":"t"}}"#, id(1));
        let known = |name: &str| (name == "d").then(|| id(9));
        let expected = format!(r#"{{"id":"{}","name":"d","tenant":"t"}}"#, id(9));
        assert_eq!(text(database_response(body.as_bytes(), known)).as_ref(), Some(&expected));
        let list = format!(r#"[{},{}]"#, body, body.replace("\"d\"", "\"hidden\""));
        assert_eq!(text(database_list(list.as_bytes(), known, Window::default())), Some(format!("[{expected}]")));
        let none = Window { limit: None, offset: Some(1) };
        assert_eq!(text(database_list(list.as_bytes(), known, none)).as_deref(), Some("[]"));
        assert_eq!(database_response(body.as_bytes(), |_| None), None);
    }

    #[test]
    fn ids_in_messages_are_replaced_everywhere() {
        let (from, to) = (InstanceCollectionId::new(id(1)), CollectionId::new(id(2)));
        let body = format!("{from}x{from}{from}y");
        assert_eq!(error_text(body.as_bytes(), from, to), format!("{to}x{to}{to}y").into_bytes());
        assert_eq!(error_text(b"short", from, to), b"short");
    }
}
