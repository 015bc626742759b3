//! Translates ids between those that clients know and those of one instance.
//!
//! [`path`] rewrites requests, [`response`] rewrites answers. Only the text of an id is ever replaced. Every other
//! byte, numbers in particular, reaches the client as the instance wrote it. The caller decides which id belongs to
//! which.

mod path;
mod response;

pub use path::{
    by_id_path, collection_path, collections_path, database_path, databases_path, instance_path, strip_page,
    tenant_path, tenants_path,
};
pub use response::{
    collection_list, collection_response, database_list, database_response, error_text, is_collection,
    listed_collections,
};
