//! `auth.jwt`: whose JWTs are accepted, and with which keys.
//!
//! A secret is never in the configuration itself, and no message repeats one. `auth` decides which claims a token
//! needs.

use std::time::Duration;

use zeroize::Zeroizing;

use super::mistake::Ledger;
use super::section::Section;
use super::units::ByteSize;
use crate::auth::{ClaimNames, Issuer, Keys, Rules};

/// Reads the issuer, if one is configured.
pub(super) fn issuer(auth: &Section<'_>, lookup: &dyn Fn(&str) -> Option<String>, ledger: &Ledger) -> Option<Issuer> {
    let section = auth.section("jwt");
    if !auth.is_given("jwt") {
        section.finish();
        return None;
    }
    let secret = section.optional("secret", |text| Keys::secret(secret(text, lookup)?.as_bytes()).map_err(shown));
    let set = section.optional("jwks_file", |path| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        Keys::set(&text).map_err(|error| format!("{path}: {error}"))
    });
    let rules = Rules {
        issuer: section.optional("issuer", named).map(|found| found.value),
        audience: section.optional("audience", named).map(|found| found.value),
        leeway: section.duration("leeway", Duration::from_secs(10), Duration::ZERO..=Duration::from_secs(300)),
        claims: claims(&section)?,
    };
    let most = ByteSize::bytes(65_536);
    let longest = section.size("token_bytes", ByteSize::bytes(8192), ByteSize::bytes(512)..=most).value;
    let (asks_secret, asks_set) = (section.is_given("secret"), section.is_given("jwks_file"));
    section.finish();
    if asks_secret == asks_set {
        ledger.report(auth.place("jwt"), "edge.auth.jwt needs either secret or jwks_file");
        return None;
    }
    Some(Issuer::new(secret.or(set)?.value, rules, longest.as_usize()))
}

fn shown(mistake: impl std::fmt::Display) -> String {
    mistake.to_string()
}

/// Reads the secret from a variable or from a file.
fn secret(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Zeroizing<String>, String> {
    let found = if let Some(name) = text.strip_prefix("env:") {
        lookup(name).ok_or_else(|| format!("the variable {name} is not set"))?
    } else if let Some(path) = text.strip_prefix("file:") {
        std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?
    } else {
        return Err("must be env:NAME or file:PATH; the secret itself does not belong here".to_owned());
    };
    let found = Zeroizing::new(found);
    Ok(Zeroizing::new(found.trim_end_matches(['\r', '\n']).to_owned()))
}

fn named(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn claims(jwt: &Section<'_>) -> Option<ClaimNames> {
    let section = jwt.section("claims");
    let names = ClaimNames {
        role: section.text("role", "chroma_role", named)?,
        tenants: section.text("tenants", "chroma_tenants", named)?,
        databases: section.text("databases", "chroma_databases", named)?,
        collections: section.text("collections", "chroma_collections", named)?,
    };
    section.finish();
    Some(names)
}
