//! A CMS: uploads documents as groups of chunks, replaces, searches and deletes them by group, as such applications do,
//! and keeps a list of what was confirmed as stored.

use std::io;

use serde_json::{Value, json};

use crate::catalog_fixture::{CatalogFixture, Document};
use crate::figures::Figures;
use testkit::http::{Answer, Client, DEFAULT, record_path};

/// One editor's session.
#[derive(Debug)]
pub struct Cms<'a> {
    client: Client,
    session: String,
    figures: &'a Figures,
    pub catalog_fixture: CatalogFixture,
    /// Writes that were acknowledged.
    pub writes: usize,
}

impl<'a> Cms<'a> {
    pub fn new(client: &Client, session: &str, figures: &'a Figures) -> Cms<'a> {
        let client = client.with_header("X-Client-Session", session);
        Cms { client, session: session.to_owned(), figures, catalog_fixture: CatalogFixture::new(), writes: 0 }
    }

    pub fn create(&mut self, name: &str) {
        let path = format!("{DEFAULT}/collections");
        let body = json!({ "name": name, "metadata": { "made_by": "cms" } });
        self.write("create a collection", "POST", &path, &body);
        self.catalog_fixture.insert(name.to_owned(), Default::default());
    }

    pub fn drop_collection(&mut self, name: &str) {
        self.write("delete a collection", "DELETE", &format!("{DEFAULT}/collections/{name}"), &Value::Null);
        self.catalog_fixture.remove(name);
    }

    pub fn upload(&mut self, collection: &str, document: Document) {
        let path = self.path(collection, "add");
        self.write("upload a document", "POST", &path, &document.body());
        self.documents(collection).insert(document.name.clone(), document);
    }

    /// Deletes the old version's group, and uploads the new one.
    pub fn replace(&mut self, collection: &str, name: &str, chunks: u64) {
        let edited = self.catalog_fixture[collection][name].edited(chunks);
        self.delete(collection, name);
        self.upload(collection, edited);
    }

    pub fn delete(&mut self, collection: &str, name: &str) {
        let path = self.path(collection, "delete");
        self.write("delete a document", "POST", &path, &json!({ "where": { "document_id": name } }));
        self.documents(collection).remove(name);
    }

    pub fn delete_by_ids(&mut self, collection: &str, name: &str) {
        let path = self.path(collection, "delete");
        let ids = self.catalog_fixture[collection][name].ids();
        self.write("delete by ids", "POST", &path, &json!({ "ids": ids }));
        self.documents(collection).remove(name);
    }

    /// Searches for one chunk: it must be the nearest.
    #[track_caller]
    pub fn search(&self, collection: &str, name: &str) {
        let document = &self.catalog_fixture[collection][name];
        let chunk = document.chunks / 2;
        let body = json!({ "query_embeddings": [document.embedding(chunk)], "n_results": 3 });
        let found = self.read("search", &self.path(collection, "query"), &body);
        assert_eq!(found["ids"][0][0], document.ids()[usize::try_from(chunk).expect("small")].as_str(), "{found}");
    }

    /// Shows one document: all its chunks, and no others.
    #[track_caller]
    pub fn show(&self, collection: &str, name: &str) {
        let body = json!({ "where": { "document_id": name } });
        let found = self.read("show a document", &self.path(collection, "get"), &body);
        let mut ids: Vec<String> = serde_json::from_value(found["ids"].clone()).expect("ids");
        let mut expected = self.catalog_fixture[collection].get(name).map(Document::ids).unwrap_or_default();
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected, "{name} in {collection}");
    }

    /// Lists the collections: all that the CMS created must exist.
    #[track_caller]
    pub fn list(&self) {
        let path = format!("{DEFAULT}/collections");
        let answer = self.figures.call("list collections", || self.client.try_call("GET", &path, &Value::Null));
        let list = answer.expect("an answer").expect(200).json();
        let names: Vec<&str> = list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
        for name in self.catalog_fixture.keys() {
            assert!(names.contains(&name.as_str()), "{name} is not in {names:?}");
        }
    }

    /// Checks the health that the deployment reports.
    pub fn health(&self) {
        self.figures
            .call("health", || self.client.try_call("GET", "/health", &Value::Null))
            .expect("an answer")
            .expect(200);
    }

    /// Returns what the audit trail counts for this session.
    pub fn transactions(&self) -> Value {
        let path = format!("/transaction/safety/transactions?session={}&limit=1", self.session);
        self.client.get(&path).expect(200).json()
    }

    fn documents(&mut self, collection: &str) -> &mut std::collections::BTreeMap<String, Document> {
        self.catalog_fixture.get_mut(collection).expect("a collection that the CMS made")
    }

    /// Returns the path by name, which this CMS uses wherever Chroma takes an id.
    fn path(&self, collection: &str, operation: &str) -> String {
        record_path(collection, operation)
    }

    #[track_caller]
    fn write(&mut self, kind: &'static str, method: &str, path: &str, body: &Value) {
        let answer: io::Result<Answer> = self.figures.call(kind, || self.client.try_call(method, path, body));
        let answer = answer.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(answer.status < 300, "{kind}: {answer}");
        assert!(answer.header("transaction-id").is_some(), "{kind}: no Transaction-ID: {answer}");
        self.writes += 1;
    }

    #[track_caller]
    fn read(&self, kind: &'static str, path: &str, body: &Value) -> Value {
        let answer = self.figures.call(kind, || self.client.try_call("POST", path, body));
        answer.unwrap_or_else(|error| panic!("{kind}: {error}")).expect(200).json()
    }
}
