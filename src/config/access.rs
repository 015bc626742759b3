//! Who may use the edge, and what is protected: `auth` and `protection`.
//!
//! Decides how tokens are written and where they may be stored: in the file, in a separate file, in the variable
//! `AUTH`. No message repeats text that may be a token.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::jwt;
use super::mistake::{Ledger, Location};
use super::section::Section;
use super::tree::{self, Node, Value};
use crate::auth::{ClientCredentials, Digest, Gate, Grants, Names, Openness, Protection, Role, Token};
use crate::web::{ResetPolicy, rfc3339};

/// Declares explicitly that no token is required.
pub(super) const NONE: &str = "none";

/// Reads who is allowed in, and whether clients' credentials are passed on to the instances.
pub(super) fn auth(
    edge: &Section<'_>,
    lookup: &dyn Fn(&str) -> Option<String>,
    ledger: &Ledger,
) -> (Gate, ClientCredentials) {
    if edge.is_word("auth", NONE) {
        return (Gate::Open(Openness::Declared), ClientCredentials::default());
    }
    let section = edge.section("auth");
    let mut tokens = tokens("edge.auth.tokens", section.list("tokens").unwrap_or_default(), ledger);
    if let Some(file) = section.optional("tokens_file", |path| from_file(Path::new(path))) {
        tokens.extend(file.value);
    }
    let choices = [("false", ClientCredentials::Kept), ("true", ClientCredentials::PassedOn)];
    let credentials = section.choice("pass_credentials", "false", &choices, ClientCredentials::Kept);
    unique(&tokens, edge.place("auth"), ledger);
    let issuer = jwt::issuer(&section, lookup, ledger).map(Arc::new);
    let asked = section.is_given("tokens_file") || !tokens.is_empty() || issuer.is_some();
    section.finish();
    let gate = if asked { Gate::Asks { tokens: Arc::from(tokens), issuer } } else { Gate::Open(Openness::Unsaid) };
    (gate, credentials)
}

/// Two tokens with one name would act as the same principal; one token with two names would get one of them by chance.
fn unique(tokens: &[Token], place: Location, ledger: &Ledger) {
    for (index, token) in tokens.iter().enumerate() {
        for other in &tokens[..index] {
            if other.name == token.name {
                ledger.report(place, format!("edge.auth: two tokens are called {}", token.name));
            } else if other.digest == token.digest {
                ledger.report(place, format!("edge.auth: {} and {} are the same token", other.name, token.name));
            }
        }
    }
}

/// Reads a list of tokens from a separate file.
fn from_file(path: &Path) -> Result<Vec<Token>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let ledger = Ledger::default();
    let node = tree::parse(&text, &ledger);
    let found = match node.map(|node| node.value) {
        Some(Value::List(items)) => tokens("tokens", &items, &ledger),
        Some(Value::Null) | None => Vec::new(),
        Some(Value::Map(entries)) if entries.is_empty() => Vec::new(),
        Some(Value::Map(_) | Value::Scalar(_)) => {
            return Err(format!("{shown} must hold a list: - {{ name: cms, role: writer, sha256: ... }}"));
        }
    };
    match ledger.into_list().into_iter().next() {
        None => Ok(found),
        Some(mistake) => Err(match mistake.place {
            Location::Line(line) => format!("{shown}:{line}: {}", mistake.message),
            Location::Variable(_) | Location::Whole => format!("{shown}: {}", mistake.message),
        }),
    }
}

/// Parses the value of `AUTH` as a list of tokens; every part of it gets the location `place`.
pub(super) fn from_variable(text: &str, place: Location) -> Result<Node, &'static str> {
    const EXPECTED: &str = "is `none`, or a list of tokens such as [{ name: cms, role: writer, sha256: ... }]";
    let ledger = Ledger::default();
    let node = tree::parse(text, &ledger).filter(|node| ledger.is_clean() && matches!(node.value, Value::List(_)));
    node.map(|node| placed(node, place)).ok_or(EXPECTED)
}

fn placed(node: Node, place: Location) -> Node {
    let value = match node.value {
        Value::List(items) => Value::List(items.into_iter().map(|item| placed(item, place)).collect()),
        Value::Map(mut entries) => {
            for entry in &mut entries {
                entry.place = place;
                let node = std::mem::replace(&mut entry.node, Node::empty_map());
                entry.node = placed(node, place);
            }
            Value::Map(entries)
        }
        scalar @ (Value::Scalar(_) | Value::Null) => scalar,
    };
    Node { place, value }
}

fn tokens(path: &str, items: &[Node], ledger: &Ledger) -> Vec<Token> {
    items.iter().enumerate().filter_map(|(index, item)| token(&format!("{path}[{index}]"), item, ledger)).collect()
}

fn token(path: &str, node: &Node, ledger: &Ledger) -> Option<Token> {
    let section = Section::new(path, Some(node), ledger);
    let name = section.required("name", node.place, token_name);
    let role = section.required("role", node.place, |text| {
        Role::named(text).ok_or_else(|| format!("{text:?} is not reader, writer or admin"))
    });
    // The value may be the token itself, so the message does not repeat it.
    let sha256 = section.optional("sha256", |text| {
        Digest::parse(text)
            .ok_or_else(|| "must be 64 hexadecimal digits; `chroma-edge token new` prints them".to_owned())
    });
    let file = section.optional("file", |path| digest_of_file(Path::new(path)));
    let expires = section.optional("expires", |text| {
        rfc3339::read(text).ok_or_else(|| format!("{text:?} is not a time such as 2027-01-31T00:00:00Z"))
    });
    let grants = Grants {
        tenants: names(&section, "tenants"),
        databases: names(&section, "databases"),
        collections: names(&section, "collections"),
    };
    let both = section.is_given("sha256") && section.is_given("file");
    let neither = !section.is_given("sha256") && !section.is_given("file");
    section.finish();
    if both || neither {
        ledger.report(node.place, format!("{path} needs either sha256 or file"));
    }
    Some(Token {
        name: name?.value.into(),
        digest: sha256.or(file)?.value,
        role: role?.value,
        grants: Arc::new(grants),
        expires: expires.map(|expires| expires.value),
    })
}

/// Checks the name of a token.
///
/// # Errors
/// Describes a valid name.
pub fn token_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    match !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} must be 1 to 64 letters, digits, _, -, . or @")),
    }
}

/// With a list, only the names in it; an empty list allows none.
fn names(section: &Section<'_>, key: &'static str) -> Names {
    if section.is_given(key) { Names::Only(section.texts(key, &[])) } else { Names::All }
}

/// The shortest token that a file may hold.
const SHORTEST: usize = 16;

fn digest_of_file(path: &Path) -> Result<Digest, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let text = Zeroizing::new(text);
    let token = text.trim();
    if token.len() < SHORTEST {
        return Err(format!("{}: a token has at least {SHORTEST} bytes", path.display()));
    }
    Ok(Digest::of(token.as_bytes()))
}

/// Reads whether a reset is allowed, and which collections can only be deleted deliberately.
pub(super) fn protection(edge: &Section<'_>, ledger: &Ledger) -> (ResetPolicy, Protection) {
    let section = edge.section("protection");
    let policies = [("true", ResetPolicy::Allowed), ("false", ResetPolicy::Refused)];
    let reset = section.choice("allow_reset", "false", &policies, ResetPolicy::Refused);
    let collections = section.texts("collections", &["global"]);
    let test_prefixes = section.texts("test_prefixes", &[]);
    let place = section.place("test_prefixes");
    section.finish();
    let protection = Protection { collections, test_prefixes };
    for prefix in &protection.test_prefixes {
        if let Some(name) = protection.contradicts(prefix) {
            ledger.report(
                place,
                format!(
                    "edge.protection.test_prefixes: {name} begins with {prefix} and is in edge.protection.collections"
                ),
            );
        }
    }
    (reset, protection)
}
