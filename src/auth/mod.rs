//! Who may do what: roles, scopes, tokens, and which operation and page needs which role.
//!
//! Pure rules: nothing here opens a file or reads a clock. `config/` loads tokens. For each request the proxy asks who
//! it is from and whether it is allowed, and turns a refusal into an answer.

mod client;
mod credential;
mod gate;
mod jwt;
mod locality;
mod names;
mod operations;
mod pages;
mod principal;
mod protection;
mod role;
mod token;

pub use self::client::Client;
pub use self::credential::{CREDENTIAL_HEADERS, Credential};
pub use self::gate::{ClientCredentials, Denied, Gate, Openness};
pub use self::jwt::{ClaimNames, Issuer, KeyMistake, Keys, Rejected, Rules};
pub use self::locality::Locality;
pub use self::names::{Grants, Names};
pub use self::operations::{Decision, decide, need};
pub use self::pages::{Need, PAGES, Page, is_among_pages, page_need};
pub use self::principal::Principal;
pub use self::protection::{CONFIRM, Confirmed, Protection, RESET};
pub use self::role::Role;
pub use self::token::{Digest, Token};
