//! Who may use the edge and what is protected, as configured by the file and the environment.

use super::Config;
use super::tests::{TWO, around, mistake, with};
use crate::auth::Gate;

const SHA: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

fn with_tokens(tokens: &str) -> String {
    around(&format!("  auth:\n    tokens:\n      - {tokens}\n"))
}

#[test]
fn tokens_come_from_the_file_from_a_file_of_their_own_or_from_the_environment() {
    let names = |config: &Config| match &config.proxy.entrance.gate {
        Gate::Asks { tokens, .. } => tokens.iter().map(|token| format!("{} {}", token.name, token.role)).collect(),
        Gate::Open(openness) => vec![format!("{openness:?}")],
    };
    let one = with_tokens(&format!(
        "{{ name: cms, role: writer, sha256: {SHA}, tenants: [a], expires: 2027-01-31T00:00:00Z }}"
    ));
    assert_eq!(names(&with(&one, &[]).unwrap()), ["cms writer"]);
    assert_eq!(names(&with(&one, &[("AUTH", "none")]).unwrap()), ["Declared"], "the environment is above the file");
    assert_eq!(names(&with(&around("  auth: none\n"), &[]).unwrap()), ["Declared"]);
    assert_eq!(names(&with(TWO, &[]).unwrap()), ["Unsaid"]);
    assert_eq!(names(&with(&around("  auth: { tokens: [] }\n"), &[]).unwrap()), ["Unsaid"]);
    let listed = format!("[{{ name: ops, role: admin, sha256: {SHA} }}]");
    assert_eq!(names(&with(TWO, &[("AUTH", &listed)]).unwrap()), ["ops admin"]);
    assert_eq!(names(&with(&around("  auth: none\n"), &[("AUTH", &listed)]).unwrap()), ["ops admin"]);
    let dir = tempfile::tempdir().unwrap();
    let (secret, file) = (dir.path().join("secret"), dir.path().join("tokens.yaml"));
    std::fs::write(&secret, "0123456789abcdef\n").unwrap();
    std::fs::write(&file, format!("- {{ name: app, role: reader, file: {secret:?} }}\n")).unwrap();
    let text = around(&format!("  auth: {{ tokens_file: {file:?} }}\n"));
    assert_eq!(names(&with(&text, &[]).unwrap()), ["app reader"]);
    std::fs::write(&file, "# nobody yet\n").unwrap();
    assert!(names(&with(&text, &[]).unwrap()).is_empty(), "an empty file lets nobody in");
}

#[test]
fn mistakes_in_tokens_are_named_and_no_token_is_repeated() {
    for (token, expected) in [
        (format!("{{ name: 'a b', role: writer, sha256: {SHA} }}"), "letters, digits"),
        (format!("{{ name: a, role: owner, sha256: {SHA} }}"), "reader, writer or admin"),
        (format!("{{ name: a, sha256: {SHA} }}"), "role is missing"),
        ("{ name: a, role: writer }".to_owned(), "either sha256 or file"),
        ("{ name: a, role: writer, sha256: my-secret-token }".to_owned(), "64 hexadecimal digits"),
        ("{ name: a, role: writer, file: /no/such/file }".to_owned(), "cannot be read"),
        (format!("{{ name: a, role: writer, sha256: {SHA}, expires: soon }}"), "is not a time"),
        (format!("{{ name: a, role: writer, sha256: {SHA}, tenant: [x] }}"), "did you mean `tenants`"),
        (
            format!("{{ name: a, role: writer, sha256: {SHA} }}\n      - {{ name: b, role: admin, sha256: {SHA} }}"),
            "the same token",
        ),
    ] {
        let found = mistake(&with_tokens(&token), &[]);
        assert!(found.contains(expected) && !found.contains("my-secret"), "{found}");
    }
    assert!(mistake(TWO, &[("AUTH", "my-secret-token")]).starts_with("AUTH: is `none`, or a list"));
    assert!(mistake(TWO, &[("AUTH", "[{ name: a, role: writer, sha256: my-secret-token }]")]).starts_with("AUTH: "));
}

#[test]
fn an_edge_that_others_reach_says_so_until_it_is_said_that_this_is_meant() {
    let told = |variables: &[(&str, &str)]| {
        let config = with(TWO, variables).unwrap();
        config.notices.iter().filter(|notice| notice.0.contains("no token is asked for")).count()
    };
    assert_eq!((told(&[]), told(&[("PORT", "8000")]), told(&[("PORT", "8000"), ("AUTH", "none")])), (0, 1, 0));
}

#[test]
fn what_instances_ask_for_comes_from_the_file_another_or_the_environment_and_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let text = |headers: &str| {
        format!("edge:\n  instances:\n    - {{ name: a, url: 'http://a:1', headers: {{ {headers} }} }}\n")
    };
    let config =
        with(&text(&format!("X-A: env:KEY, X-B: 'file:{}', X-C: plain-text", file.display())), &[("KEY", "from-env")]);
    let shown = format!("{:?}", config.unwrap().instances);
    assert!(
        shown.contains("x-a") && !["from-env", "from-a-file", "plain-text"].iter().any(|value| shown.contains(value))
    );
    for (headers, expected) in [
        ("X-A: env:KEY", "the variable KEY is not set"),
        ("X-A: file:/no/such/file", "cannot be read"),
        ("Host: a", "the edge's own"),
        ("'a b': c", "not the name of a header"),
        ("X-A: ''", "is empty"),
    ] {
        assert!(mistake(&text(headers), &[]).contains(expected), "{headers}");
    }
}

#[test]
fn a_test_prefix_may_not_cover_what_is_protected_by_name() {
    let text = |prefix: &str| {
        around(&format!("  protection: {{ collections: [prod, \"live_*\"], test_prefixes: [{prefix}] }}\n"))
    };
    assert!(mistake(&text("pro"), &[]).contains("prod begins with pro"));
    assert!(with(&text("live_test_"), &[]).is_ok());
}

#[test]
fn a_jwt_is_judged_by_one_secret_or_one_set_of_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, short, set) = (dir.path().join("secret"), dir.path().join("short"), dir.path().join("jwks.json"));
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(&short, "0123456789abcdef0123456789abcde\n").unwrap();
    std::fs::write(&set, "{ \"keys\": [] }").unwrap();
    let usable = dir.path().join("usable.json");
    let point = "A".repeat(43);
    let key =
        format!("{{ \"kty\": \"EC\", \"crv\": \"P-256\", \"kid\": \"k1\", \"x\": \"{point}\", \"y\": \"{point}\" }}");
    std::fs::write(&usable, format!("{{ \"keys\": [{key}] }}")).unwrap();
    let text = |keys: &str| around(&format!("  auth: {{ jwt: {{ {keys} }} }}\n"));
    let from_file = format!("secret: 'file:{}'", secret.display());
    let variables = [("KEY", "0123456789abcdef0123456789abcdef"), ("SHORT", "0123456789abcdef")];
    for keys in [
        from_file.clone(),
        "secret: env:KEY".to_owned(),
        format!("{from_file}, issuer: 'https://id', audience: edge, leeway: 0s, claims: {{ role: 'https://id/role' }}"),
    ] {
        let config = with(&text(&keys), &variables).unwrap();
        let gate = &config.proxy.entrance.gate;
        assert!(gate.asks() && gate.to_string() == "tokens: [], JWTs: [HS256]", "{gate}");
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }
    let set_alone = with(&text(&format!("jwks_file: {usable:?}")), &[]).unwrap();
    assert_eq!(set_alone.proxy.entrance.gate.to_string(), "tokens: [], JWTs: [ES256 k1]");
    for (keys, expected) in [
        ("issuer: a".to_owned(), "either secret or jwks_file"),
        (format!("{from_file}, jwks_file: {usable:?}"), "either secret or jwks_file"),
        ("secret: 0123456789abcdef0123456789abcdef".to_owned(), "must be env:NAME or file:PATH"),
        ("secret: env:OTHER".to_owned(), "the variable OTHER is not set"),
        ("secret: env:SHORT".to_owned(), "at least 32 bytes"),
        (format!("secret: 'file:{}'", short.display()), "at least 32 bytes"),
        ("secret: file:/no/such/file".to_owned(), "cannot be read"),
        (format!("jwks_file: {set:?}"), "no key for RS256 or ES256"),
        ("jwks_file: /no/such/file".to_owned(), "cannot be read"),
        (format!("{from_file}, algorithm: none"), "not a known key"),
        (format!("{from_file}, leeway: 1h"), "out of bounds"),
        (format!("{from_file}, claims: {{ name: a }}"), "not a known key"),
    ] {
        let found = mistake(&text(&keys), &variables);
        assert!(found.contains(expected) && !found.contains("0123456789abcdef"), "{keys}: {found}");
    }
}
