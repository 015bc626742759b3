//! The contract on PostgreSQL, and what only a remote database can get wrong: who writes, what a lost answer means, and
//! a journal that comes back older than it was.

mod access;
mod doubt;
mod fencing;
mod schema;
mod support;
mod twin;
mod views;

use crate::journal::contract;
use testkit::postgres::Postgres;

contract::contract_suite!(Postgres::fresh());
