//! What a configuration file and the environment mean, every mistake in them, and the documents that name their keys.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::web::{HostPattern, Hosts, Origins};

pub(super) const TWO: &str = "edge:\n  instances:\n    - { name: primary, url: \"http://127.0.0.1:8101\" }\n    - { name: replica, url: \"http://127.0.0.1:8102\" }\n";

fn no_environment(_: &str) -> Option<String> {
    None
}

pub(super) fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    parse("edge.yaml", text, &lookup)
}

fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let found = with(text, variables).expect_err("a mistake");
    found.to_string().lines().map(str::to_owned).collect()
}

/// Returns the only mistake.
pub(super) fn mistake(text: &str, variables: &[(&str, &str)]) -> String {
    let found = mistakes(text, variables);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.concat()
}

fn root(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

#[test]
fn every_file_in_conf_loads() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root("conf")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            load(Some(&path), &no_environment).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    names.sort();
    assert_eq!(names, ["minimal.yaml", "production.yaml"]);
}

#[test]
fn the_minimal_file_and_the_production_file_mean_the_same() {
    let minimal = load(Some(&root("conf/minimal.yaml")), &no_environment).unwrap();
    let mut production = load(Some(&root("conf/production.yaml")), &no_environment).unwrap();
    production.instances.clone_from(&minimal.instances);
    production.pingora.threads = minimal.pingora.threads;
    production.source.clone_from(&minimal.source);
    assert_eq!(format!("{production:#?}"), format!("{minimal:#?}"), "production.yaml must show the defaults");
}

pub(super) fn known_keys() -> Vec<mistake::KnownKey> {
    let ledger = Ledger::default();
    read(TWO, &no_environment, &ledger).unwrap();
    ledger.known()
}

#[test]
fn the_production_file_shows_every_key() {
    let text = std::fs::read_to_string(root("conf/production.yaml")).unwrap();
    let tree = tree::parse(&text, &Ledger::default()).unwrap();
    let keys = known_keys();
    assert!(keys.len() > 25, "{keys:?}");
    for known in keys {
        let mut node = Some(&tree);
        for part in known.path.split('.') {
            node = node.and_then(|node| node.get(part));
        }
        assert!(node.is_some(), "conf/production.yaml lacks {}", known.path);
    }
}

#[test]
fn the_document_names_every_key_with_its_default_and_limits_and_every_variable() {
    let text = std::fs::read_to_string(root("docs/configuration.md")).unwrap();
    for known in known_keys() {
        let key = known.path.strip_prefix("edge.").unwrap();
        let mut row = format!("| `{key}` | `{}` |", known.default);
        if !known.range.is_empty() {
            row.push_str(&format!(" {} |", known.range));
        }
        assert!(text.contains(&row), "docs/configuration.md lacks a row that begins with\n{row}");
    }
    for variable in VARIABLES {
        assert!(text.contains(&format!("| `{variable}` |")), "docs/configuration.md lacks {variable}");
    }
}

/// Keys that the check reads without a default, so that it does not register them.
const WITHOUT_DEFAULT: [&str; 14] = [
    "auth",
    "admin_listen",
    "tls.cert",
    "tls.key",
    "tls.more",
    "tls.client_ca",
    "journal.postgres",
    "notify.webhook.url",
    "notify.webhook.ca_file",
    "notify.webhook.secret",
    "notify.webhook.secret_file",
    "traces.ca_file",
    "traces.endpoint",
    "traces.headers",
];

#[test]
fn each_key_is_said_once_to_take_effect_with_a_reload_or_with_a_restart() {
    let webhook = "  notify: { webhook: { url: 'http://a:1', secret: 0123456789abcdef } }\n";
    let ledger = Ledger::default();
    read(&format!("{TWO}{webhook}"), &no_environment, &ledger).unwrap();
    let known: Vec<String> = ledger.known().into_iter().map(|key| key.path.replace("edge.", "")).collect();
    let every = || known.iter().map(String::as_str).chain(WITHOUT_DEFAULT);
    for (row, _) in KEYS.iter().filter(|(row, _)| !row.is_empty()) {
        let means = |key: &str| key == *row || row.ends_with('.') && key.starts_with(*row);
        assert!(every().any(means), "no key is called {row}");
    }
    let rows = |key: &str| KEYS.iter().filter(|(row, _)| *row == key).count();
    let in_group = |key: &str| ["vouch.", "limits.", "auth."].iter().any(|group| key.starts_with(group));
    for key in every() {
        assert!(rows(key) == 1 || rows(key) == 0 && in_group(key), "{key} has {} rows", rows(key));
    }
}

#[test]
fn the_document_lists_the_keys_that_a_reload_may_change() {
    let text = std::fs::read_to_string(root("docs/configuration.md")).unwrap();
    let (_, after) = text.split_once("\n## Reload\n").expect("a section about it");
    let table = after.split("\n## ").next().unwrap();
    let listed: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| row.split(" |").next().unwrap_or_default().split('`'))
        .filter(|part| !part.is_empty() && !part.starts_with(','))
        .collect();
    let live = KEYS.iter().filter(|(_, effect)| *effect == Effect::Live).map(|(key, _)| *key);
    let mut expected: Vec<String> =
        live.map(|key| if key.ends_with('.') { format!("{key}*") } else { key.to_owned() }).collect();
    expected.push("instances".to_owned());
    let mut listed: Vec<String> = listed.into_iter().map(str::to_owned).collect();
    expected.sort();
    listed.sort();
    assert_eq!(listed, expected);
}

#[test]
fn a_difference_shows_no_secret_and_knows_what_needs_a_restart() {
    let text = |more: &str| format!("threads: 1\n{TWO}{more}");
    let one = with(&text("  write_wait: 1s\n"), &[("DATABASE_URL", "postgres://a:one@b/c")]).unwrap();
    let same = with(&text("  write_wait: 1s\n  read_wait: 5s\n"), &[("DATABASE_URL", "postgres://a:one@b/c")]).unwrap();
    assert!(Difference::between(&one, &same).is_empty(), "5s is the default");
    let other =
        with(&text("").replace("threads: 1", "threads: 3"), &[("DATABASE_URL", "postgres://a:two@b/c")]).unwrap();
    let difference = Difference::between(&one, &other);
    let shown: Vec<_> =
        difference.keys.iter().map(|key| (key.key.as_str(), key.from.as_str(), key.to.as_str())).collect();
    let secret = "(not shown)";
    assert_eq!(shown, [("journal.postgres", secret, secret), ("threads", "1", "3"), ("write_wait", "1s", "5s")]);
    assert_eq!(difference.needs_restart(), ["journal.postgres", "threads"]);
    assert!(!format!("{difference:?}{one:?}").contains("two"));
}

#[test]
fn a_difference_says_what_becomes_of_the_instances() {
    let moves = |list: &[(&str, u16)]| {
        let lines =
            list.iter().map(|(name, port)| format!("    - {{ name: {name}, url: 'http://127.0.0.1:{port}' }}\n"));
        with(&format!("edge:\n  instances:\n{}", lines.collect::<String>()), &[]).unwrap()
    };
    let between = |from: &[(&str, u16)], to: &[(&str, u16)]| Difference::between(&moves(from), &moves(to)).instances;
    let (a, b, c) = (("a", 1), ("b", 2), ("c", 3));
    let added = between(&[a, b], &[a, b, c]);
    assert_eq!((added.added.len(), &added.reordered, added.removed.len()), (1, &None, 0));
    assert_eq!(between(&[a, b], &[c, a, b]).reordered.unwrap(), ["c", "a", "b"], "the new one is the primary");
    assert_eq!(between(&[a, b, c], &[a, c]).reordered, None, "one is gone, the others stay in their order");
    let swapped = between(&[a, b], &[b, ("a", 9)]);
    assert_eq!(swapped.reordered.unwrap(), ["b", "a"]);
    assert_eq!(
        (swapped.readdressed.len(), swapped.readdressed[0].1.url.to_string()),
        (1, "http://127.0.0.1:9".to_owned())
    );
}

#[test]
fn every_mistake_is_reported_at_once_in_the_order_of_the_file() {
    let text = "\
version: 1
threads: many
thread: 2
edge:
  listen: localhost
  instances:
    - name: one two
      url: 127.0.0.1:8101
    - { name: replica, url: 'http://127.0.0.1:8102',
        colour: red }
  write_wiat: 5s
  read_wait: 5
  read_replica_ratio: 1.5
  health:
    interval: 1s
    timeout: 2s
    failures: 0
  limits: { merge_bytes: 31MB }
  protection:
    allow_reset: maybe
";
    let found = mistakes(text, &[("PORT", "http"), ("MAX_WORKERS", "0")]);
    let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let lines = [2, 3, 5, 7, 8, 10, 11, 12, 13, 16, 17, 18, 20].map(|line| format!("edge.yaml:{line}"));
    let mut expected: Vec<&str> = lines.iter().map(String::as_str).collect();
    expected.extend(["PORT", "MAX_WORKERS"]);
    expected[13..].sort_unstable();
    assert_eq!(places, expected, "{found:#?}");
    assert!(found[1].contains("did you mean `threads`?"), "{}", found[1]);
    assert!(found[6].contains("did you mean `write_wait`?"), "{}", found[6]);
}

#[test]
fn one_instance_is_needed_and_two_have_names_and_addresses_of_their_own() {
    assert!(mistake("edge:\n  listen: 127.0.0.1:1\n", &[]).contains("at least one"));
    assert!(mistake("edge:\n  instances: []\n", &[]).contains("at least one"));
    assert!(mistake("", &[]).contains("PRIMARY_URL and REPLICA_URL"));
    let alone = with("", &[("PRIMARY_URL", "http://a:1")]).unwrap();
    assert_eq!((alone.instances.len(), alone.instances[0].name.as_str()), (1, "primary"));
    assert!(alone.notices.iter().any(|notice| notice.0.contains("nothing is kept twice")), "{:?}", alone.notices);
    assert!(with(TWO, &[]).unwrap().notices.is_empty());
    let same_name = TWO.replace("name: replica", "name: primary");
    assert!(mistake(&same_name, &[]).starts_with("edge.yaml:4: edge.instances[1].name: primary is taken"));
    let same_url = TWO.replace("8102", "8101");
    assert!(mistake(&same_url, &[]).starts_with("edge.yaml:4: edge.instances[1].url"));
    assert!(mistake(TWO, &[("REPLICA_URL", "http://127.0.0.1:8101")]).starts_with("REPLICA_URL: "));
}

#[test]
fn postgresql_comes_from_the_file_or_the_environment_and_its_password_is_not_shown() {
    let text = format!("{TWO}  journal:\n    postgres: \"postgres://edge:secret@db/x\"\n");
    let config = with(&text, &[]).unwrap();
    assert!(matches!(config.journal.store, JournalStore::Postgres { .. }));
    assert!(!format!("{:?}", config.journal).contains("secret"));
    let config = with(TWO, &[("DATABASE_URL", "postgres://edge:secret@db/x")]).unwrap();
    assert!(matches!(config.journal.store, JournalStore::Postgres { .. }));
    let found = mistake(TWO, &[("DATABASE_URL", "postgres://edge:secret@db:port/x")]);
    assert!(found.starts_with("DATABASE_URL: ") && !found.contains("secret"), "{found}");
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let found = mistake(TWO, &[("PRIMARY_URL", "http://admin:secret@127.0.0.1:8101")]);
    assert!(found.starts_with("PRIMARY_URL: "), "{found}");
    assert!(!found.contains("secret"));
}

#[test]
fn a_wrong_key_of_pingoras_does_not_print_the_file() {
    let found = mistake(&format!("max_blocking_threads: 0\n{TWO}"), &[]);
    assert!(found.starts_with("edge.yaml:1: max_blocking_threads: "), "{found}");
    assert!(!found.contains("8101"));
}

#[test]
fn a_file_that_is_not_yaml_is_one_mistake() {
    assert!(mistake("edge: [\n", &[]).contains("not valid YAML"));
    assert!(mistakes("- a\n- b\n", &[])[0].contains("must be a section with keys"));
    let missing = load(Some(Path::new("/no/such/file.yaml")), &no_environment).expect_err("missing");
    assert!(missing.to_string().starts_with("/no/such/file.yaml: the configuration file cannot be read"));
}

#[test]
fn variables_stand_above_the_file() {
    let text = format!("threads: 3\n{TWO}  read_replica_ratio: 0.1\n  limits: {{ concurrent_attempts: 7 }}\n");
    let config = with(
        &text,
        &[
            ("PRIMARY_URL", "http://a:1"),
            ("REPLICA_URL", "http://b:2"),
            ("PORT", "9000"),
            ("READ_REPLICA_RATIO", "0.5"),
            ("CHECK_INTERVAL", "3"),
            ("REQUEST_TIMEOUT", "45"),
            ("WAL_SYNC_INTERVAL", "500ms"),
            ("MAX_MEMORY_MB", "64"),
            ("MAX_WORKERS", "4"),
            ("DEFAULT_BATCH_SIZE", "100"),
            ("MAX_CONCURRENT_REQUESTS", "10"),
            ("REQUEST_QUEUE_SIZE", "20"),
            ("ENABLE_CONNECTION_POOLING", "false"),
            ("ENABLE_GRANULAR_LOCKING", "false"),
            ("CHROMA_EDGE_LOG", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(config.instances[0].url.to_string(), "http://a:1");
    assert_eq!(config.instances[1].url.to_string(), "http://b:2");
    assert_eq!(config.instances[1].name.as_str(), "replica");
    assert_eq!(config.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(config.proxy.hosts, Hosts::Any, "a platform's router chooses by name");
    let named = with(&around("  hosts: [edge.example.com]\n"), &[("PORT", "9000")]).unwrap().proxy.hosts;
    assert_eq!(named, Hosts::These(vec![HostPattern::Exactly("edge.example.com".to_owned())]));
    let named = with(TWO, &[("PORT", "9000"), ("HOSTS", "a.example, *.b.example")]).unwrap().proxy.hosts;
    let below = HostPattern::Below(".b.example".to_owned());
    assert_eq!(named, Hosts::These(vec![HostPattern::Exactly("a.example".to_owned()), below]));
    assert_eq!(with(TWO, &[]).unwrap().proxy.hosts, Hosts::These(Vec::new()));
    assert_eq!(config.proxy.replica_ratio, 0.5);
    assert_eq!(config.health.interval, Duration::from_secs(3));
    assert_eq!(config.proxy.request_timeout, Duration::from_secs(45));
    assert_eq!(config.recovery_interval, Duration::from_millis(500));
    assert_eq!(config.limits.admission.buffered_bytes, ByteSize::mib(64).as_usize());
    assert_eq!(config.pingora.threads, 4);
    assert_eq!(config.limits.merge.documents, 100);
    assert_eq!(config.limits.admission.concurrent_attempts, 10);
    assert_eq!(config.limits.admission.queued_attempts, 20);
    assert_eq!(config.connection_pooling, ConnectionPooling::Disabled);
    assert_eq!(config.log, "debug");
    assert_eq!(config.granular_locking, GranularLocking::Disabled);
}

#[test]
fn no_file_is_needed_when_both_addresses_are_set() {
    let lookup = |name: &str| match name {
        "PRIMARY_URL" => Some("http://127.0.0.1:1".to_owned()),
        "REPLICA_URL" => Some("http://127.0.0.1:2".to_owned()),
        _ => None,
    };
    let config = load(None, &lookup).unwrap();
    let names: Vec<&str> = config.instances.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, ["primary", "replica"]);
}

#[test]
fn the_batch_cap_lowers_and_never_raises_and_it_is_said_when_it_does_nothing() {
    let merged = |variables: &[(&str, &str)]| {
        let config = with(TWO, variables).unwrap();
        (config.limits.merge.documents, config.notices.iter().any(|one| one.0.starts_with("MAX_BATCH_SIZE=")))
    };
    assert_eq!(merged(&[("MAX_BATCH_SIZE", "50")]), (50, false));
    assert_eq!(merged(&[("MAX_BATCH_SIZE", "9999")]), (500, true));
    assert_eq!(merged(&[("MAX_BATCH_SIZE", "200"), ("DEFAULT_BATCH_SIZE", "50")]), (50, true));
    assert_eq!(merged(&[("MAX_BATCH_SIZE", "50"), ("DEFAULT_BATCH_SIZE", "200")]), (50, false));
    assert!(mistake(TWO, &[("MAX_BATCH_SIZE", "0")]).starts_with("MAX_BATCH_SIZE: "));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert!(with(TWO, &[("DATABASE_URL", ""), ("PORT", " ")]).is_ok());
}

#[test]
fn the_attempt_gives_way_to_a_shorter_request_unless_the_file_names_it() {
    assert_eq!(with(TWO, &[("REQUEST_TIMEOUT", "10")]).unwrap().attempt_timeout, Duration::from_secs(10));
    let named = format!("{TWO}  attempt_timeout: 20s\n");
    assert!(mistake(&named, &[("REQUEST_TIMEOUT", "10")]).starts_with("REQUEST_TIMEOUT: "));
    assert!(mistake(&format!("{named}  request_timeout: 5s\n"), &[]).starts_with("edge.yaml:5: "));
}

#[test]
fn memory_must_hold_one_body() {
    assert!(mistake(TWO, &[("MAX_MEMORY_MB", "20")]).starts_with("MAX_MEMORY_MB: "));
}

#[test]
fn a_certificate_file_is_checked() {
    let with_ca = |url: &str, file: &str| {
        let item = format!("    - name: third\n      url: {url}\n      ca_file: {file}\n");
        format!("{TWO}{item}")
    };
    assert!(mistake(&with_ca("http://c:3", "Cargo.toml"), &[]).contains("requires an https:// url"));
    if cfg!(feature = "tls") {
        assert!(mistake(&with_ca("https://c:3", "/no/such.pem"), &[]).starts_with("edge.yaml:7: ca_file"));
        let file = root("Cargo.toml");
        let file = file.display().to_string();
        assert!(with(&with_ca("https://c:3", &file), &[]).is_ok());
        let own = |more: &str| with_ca("https://c:3", &format!("{file}\n      cert_file: {file}{more}"));
        assert!(with(&own(&format!("\n      key_file: {file}")), &[]).is_ok());
        assert!(mistake(&own(""), &[]).contains("belong together"));
        assert!(mistake(&own("\n      key_file: /no/such.key"), &[]).contains("key_file /no/such.key cannot be read"));
    } else {
        assert!(mistakes(&with_ca("https://c:3", "Cargo.toml"), &[])[0].contains("feature `tls`"));
    }
}

#[test]
fn pingora_stops_within_the_grace_period() {
    assert_eq!(with(TWO, &[]).unwrap().pingora.grace_period_seconds, Some(8));
    let set = with(&format!("grace_period_seconds: 20\n{TWO}"), &[]).unwrap();
    assert_eq!(set.pingora.grace_period_seconds, Some(20));
    let short = with(&format!("{TWO}  shutdown_grace: 1500ms\n"), &[]).unwrap();
    assert_eq!(short.pingora.grace_period_seconds, Some(2));
}

pub(super) fn around(lines: &str) -> String {
    format!("{TWO}{lines}")
}

const WEBHOOK: &str = "  notify:\n    webhook:\n      url: \"http://127.0.0.1:9/hook/private\"\n";

#[test]
fn what_stands_around_the_edge_is_read() {
    let text = around(&format!(
        "  trusted_proxies: [127.0.0.1, 10.0.0.0/8, \"fd00::/8\"]\n  cors: {{ origins: [\"https://App.example:443\"] }}\n\
         {WEBHOOK}      secret: 0123456789abcdef\n      events: [recovered, transaction:completed]\n      timeout: 3s\n"
    ));
    let config = with(&text, &[]).unwrap();
    let nets: Vec<String> = config.proxy.entrance.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]);
    assert_eq!(config.proxy.origins, Origins::These(vec!["https://app.example".to_owned()]));
    let webhook = config.webhook.as_ref().unwrap();
    assert_eq!(webhook.options.events, ["transaction:recovered", "transaction:completed"]);
    assert_eq!(webhook.options.timeout, Duration::from_secs(3));
    let shown = format!("{config:?}");
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("private"), "{shown}");
    let default = with(&around(&format!("{WEBHOOK}      secret: 0123456789abcdef\n")), &[]).unwrap().webhook.unwrap();
    assert!(!default.options.events.contains(&"transaction:completed"));
    assert_eq!((default.options.events.len(), default.options.timeout), (3, Duration::from_secs(10)));
    assert_eq!(
        with(&around("  cors: { origins: [\"*\", \"https://a\"] }\n"), &[]).unwrap().proxy.origins,
        Origins::Any
    );
    assert_eq!(with(TWO, &[]).unwrap().proxy.origins, Origins::None);
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
    let text = around(&format!("{WEBHOOK}      secret_file: {:?}\n", file.path()));
    let same = around(&format!("{WEBHOOK}      secret: 0123456789abcdef\n"));
    let secret = |text: &str| with(text, &[]).unwrap().webhook.unwrap().options.secret;
    assert!(secret(&text) == secret(&same), "the line end does not count");
}

#[test]
fn mistakes_around_the_edge_are_named_and_no_secret_is_repeated() {
    for (lines, expected) in [
        ("  trusted_proxies: [10.0.0.0/33]\n".to_owned(), "10.0.0.0/33"),
        ("  trusted_proxies: [proxy.internal]\n".to_owned(), "proxy.internal"),
        ("  cors: { origins: [\"https://a/b\"] }\n".to_owned(), "https://a/b"),
        ("  hosts: [\"https://a\"]\n".to_owned(), "https://a"),
        (WEBHOOK.to_owned(), "needs a secret"),
        (format!("{WEBHOOK}      secret: hunter2\n"), "at least 16 bytes"),
        (format!("{WEBHOOK}      secret_file: /no/such/file\n"), "cannot be read"),
        (format!("{WEBHOOK}      secret: 0123456789abcdef\n      events: [failed]\n"), "\"failed\" is no event"),
        (format!("{WEBHOOK}      secret: 0123456789abcdef\n      ca_file: /dev/null\n"), "https:// url"),
        ("  notify: { webhook: { secret: 0123456789abcdef } }\n".to_owned(), "url is missing"),
    ] {
        let found = mistake(&around(&lines), &[]);
        assert!(found.contains(expected) && !found.contains("hunter2"), "{found}");
    }
}

#[test]
fn traces_are_off_without_an_endpoint_and_come_from_the_file_or_the_environment() {
    let quiet = parse("edge.yaml", &format!("{TWO}  traces: {{ sample_ratio: 0.5 }}\n"), &no_environment).unwrap();
    assert!(quiet.traces.is_none());
    let lookup = |name: &str| {
        let value = match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://collector:4318/base/",
            "OTEL_EXPORTER_OTLP_HEADERS" => "x-key=a%20secret, authorization=Bearer b",
            "OTEL_EXPORTER_OTLP_TIMEOUT" => "2500",
            "OTEL_SERVICE_NAME" => "edge of the cms",
            "OTEL_TRACES_SAMPLER_ARG" => "0.25",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let config = parse("edge.yaml", &format!("{TWO}  traces: {{ sample_ratio: 0.5, queue: 7 }}\n"), &lookup).unwrap();
    let traces = config.traces.as_ref().unwrap();
    assert_eq!((traces.sample_ratio, traces.queue, traces.timeout), (0.25, 7, Duration::from_millis(2500)));
    assert_eq!(
        (traces.service_name.as_str(), traces.url.to_string().as_str()),
        ("edge of the cms", "http://collector:4318/…")
    );
    let headers: Vec<_> = traces.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("x-key", "a secret"), ("authorization", "Bearer b")]);
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
    for wrong in [
        "endpoint: 'collector:4318'",
        "endpoint: 'http://a:1', sample_ratio: 2",
        "endpoint: 'http://a:1', queue: 0",
        "endpoint: 'http://a:1', ca_file: /etc/hosts",
        "endpoint: 'http://a:1', headers: { x-key: 'env:NOT_SET' }",
        "endpoint: 'http://a:1', service_name: ''",
        "ratio: 1",
    ] {
        let text = format!("{TWO}  traces: {{ {wrong} }}\n");
        assert!(parse("edge.yaml", &text, &no_environment).is_err(), "{wrong}");
    }
}
