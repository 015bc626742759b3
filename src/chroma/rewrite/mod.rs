//! Ids, translated between what clients know and what one instance knows.
//!
//! [`path`] rewrites requests, [`response`] rewrites answers. Only the text of an id is ever replaced: every
//! other byte, numbers above all, reaches the client as the instance wrote it. Which id belongs to which is
//! the caller's to say.

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
