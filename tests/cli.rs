//! The program's commands and exit codes, as a shell sees them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::BTreeMap;

use assert_cmd::Command;
use chroma_edge::config::KEYS;

/// The program, without the variables that this shell may have set.
fn chroma_edge() -> Command {
    let mut command = Command::cargo_bin("chroma-edge").unwrap();
    for variable in chroma_edge::config::VARIABLES {
        command.env_remove(variable);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

fn mistakes(command: &mut Command) -> String {
    String::from_utf8(command.assert().code(64).get_output().stderr.clone()).unwrap()
}

#[test]
fn check_prints_what_is_in_effect() {
    let shown = stdout(chroma_edge().args(["check", "--conf", "conf/minimal.yaml"]).env("READ_REPLICA_RATIO", "0.25"));
    assert!(shown.contains("primary at http://127.0.0.1:8101"), "{shown}");
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["read_replica_ratio", "0.25"])), "{shown}");
}

/// Every section that is absent by default, with a secret in each.
const EVERYTHING: &str = r#"
  promise: with_id
  heal: { foreign: rebuild }
  limits: { client_rate: 7, document_bytes: 1MiB }
  journal: { postgres: "postgres://edge:hidden@db/chroma_edge" }
  auth:
    tokens: [{ name: cms, role: admin, sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef }]
  notify: { webhook: { url: "http://a:1/hidden", secret: hidden-0123456789abcdef } }
  traces: { endpoint: "http://a:2/hidden", headers: { token: hidden } }
"#;

/// Returns what `check` prints, by key.
fn printed(command: &mut Command) -> BTreeMap<String, String> {
    let text = stdout(command);
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    lines.map(|line| line.split_once("  ").unwrap()).map(|(key, text)| (key.into(), text.trim().into())).collect()
}

#[test]
fn check_prints_every_key_that_there_is_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.yaml");
    let minimal = std::fs::read_to_string("conf/minimal.yaml").unwrap();
    let rows: Vec<&str> = KEYS.iter().map(|(row, _)| *row).filter(|row| !row.is_empty()).collect();
    let fits = |key: &str, row: &str| key == row || row.ends_with('.') && key.starts_with(row);
    for more in ["", EVERYTHING] {
        std::fs::write(&file, format!("{minimal}{more}")).unwrap();
        let shown = printed(chroma_edge().arg("check").arg("--conf").arg(&file));
        for row in &rows {
            assert!(shown.keys().any(|key| fits(key, row)), "{row} is not printed: {shown:#?}");
        }
        let own = shown.keys().filter(|key| !key.starts_with("instances[") && key.as_str() != "threads");
        for key in own {
            assert!(rows.iter().any(|row| fits(key, row)), "{key} is no key");
        }
        assert!(!format!("{shown:?}").contains("hidden") && !format!("{shown:?}").contains("0123456789"), "{shown:#?}");
        let given = [
            ("promise", "with_id"),
            ("heal.foreign", "rebuild"),
            ("limits.client_rate", "7"),
            ("limits.document_bytes", "1MiB"),
        ];
        for (key, text) in given {
            assert_eq!(shown[key] == text, !more.is_empty(), "{key}: {}", shown[key]);
        }
    }
}

#[test]
fn check_and_serve_exit_with_64_and_name_every_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, "edge:\n  listen: nowhere\n  instances: []\n  colour: red\n").unwrap();
    for verb in ["check", "serve"] {
        let found = mistakes(chroma_edge().arg(verb).arg("--conf").arg(&file).env("PORT", "0"));
        let name = file.display();
        let places: Vec<_> = [2, 3, 4].iter().map(|line| format!("{name}:{line}: ")).chain(["PORT: ".into()]).collect();
        let lines: Vec<_> = found.lines().collect();
        assert_eq!(lines.len(), places.len(), "{found}");
        assert!(lines.iter().zip(&places).all(|(line, place)| line.starts_with(place)), "{found}");
    }
}

#[test]
fn no_file_is_needed_when_both_addresses_are_set() {
    let shown = stdout(chroma_edge().arg("check").envs([("PRIMARY_URL", "http://a:1"), ("REPLICA_URL", "http://b:2")]));
    assert!(shown.contains("replica at http://b:2"), "{shown}");
    assert!(mistakes(chroma_edge().arg("serve")).contains("PRIMARY_URL and REPLICA_URL"));
}

#[test]
fn the_version_is_the_packages() {
    assert_eq!(stdout(chroma_edge().arg("version")), format!("chroma-edge {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_command_exits_with_64() {
    chroma_edge().arg("sevre").assert().code(64);
}

/// A configuration with its journal in its own folder.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let text = format!(
            "edge:\n  journal: {{ path: {:?} }}\n  instances:\n    - {{ name: a, url: \"http://a:1\" }}\n    - {{ name: b, url: \"http://b:2\" }}\n",
            place.journal()
        );
        std::fs::write(place.0.path().join("edge.yaml"), text).unwrap();
        place
    }

    fn journal(&self) -> std::path::PathBuf {
        self.0.path().join("data/journal.db")
    }

    fn migrate(&self, options: &[&str]) -> Command {
        let mut command = chroma_edge();
        command.arg("migrate").arg("--conf").arg(self.0.path().join("edge.yaml")).args(options);
        command
    }

    fn execute(&self, sql: &str) {
        rusqlite::Connection::open(self.journal()).unwrap().execute(sql, []).unwrap();
    }
}

fn shown_by(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().clone();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn migrate_makes_a_journal_and_validate_only_changes_nothing() {
    let place = Place::new();
    let shown = shown_by(&mut place.migrate(&["--validate-only"]), 1);
    assert!(shown.contains("there is no journal at "), "{shown}");
    assert!(!place.journal().parent().unwrap().exists());
    let shown = shown_by(&mut place.migrate(&[]), 0);
    assert!(shown.contains("applied V1__journal") && shown.contains("applied V3__views"), "{shown}");
    assert!(shown_by(&mut place.migrate(&["--validate-only"]), 0).contains("as this binary needs it"));
    assert!(!shown_by(&mut place.migrate(&[]), 0).contains("applied"), "once");
    place.execute("DROP VIEW unified_wal_writes");
    let before = std::fs::read(place.journal()).unwrap();
    let shown = shown_by(&mut place.migrate(&["--validate-only"]), 1);
    assert!(shown.contains("the view unified_wal_writes is missing"), "{shown}");
    assert_eq!(std::fs::read(place.journal()).unwrap(), before);
}

#[test]
fn a_newer_journal_is_refused() {
    let place = Place::new();
    shown_by(&mut place.migrate(&[]), 0);
    place
        .execute("INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (99, 'x', '', '0')");
    for options in [&[][..], &["--validate-only"]] {
        let shown = shown_by(&mut place.migrate(options), 1);
        assert!(shown.contains("schema version 99") && shown.contains("use a newer binary"), "{shown}");
    }
}

#[test]
fn while_an_edge_has_the_journal_migrate_says_so() {
    let place = Place::new();
    let store = chroma_edge::journal::sqlite::SqliteStore::open(&place.journal()).unwrap();
    let shown = shown_by(&mut place.migrate(&[]), 1);
    assert!(shown.contains("in use by another edge"), "{shown}");
    shown_by(&mut place.migrate(&["--validate-only"]), 0);
    drop(store);
    shown_by(&mut place.migrate(&[]), 0);
}

#[test]
fn only_postgresql_can_be_moved_into() {
    let place = Place::new();
    let journal = place.journal().display().to_string();
    let shown = shown_by(&mut place.migrate(&["--from", &journal]), 64);
    assert!(shown.contains("PostgreSQL"), "{shown}");
    place.migrate(&["--from", &journal, "--validate-only"]).assert().code(64);
}

#[test]
fn words_to_a_live_edge_end_with_1_without_one_and_with_64_for_a_mistake() {
    let nobody = ["--url", "http://127.0.0.1:1"];
    for words in [&["heal", "status"][..], &["heal", "pause"], &["adopt", "--from", "a", "--all"]] {
        let output = chroma_edge().args(words).args(nobody).assert().code(1).get_output().stderr.clone();
        assert!(String::from_utf8_lossy(&output).contains("cannot be reached"), "{words:?}");
    }
    mistakes(chroma_edge().args(["heal", "status", "--url", "nowhere"]));
    mistakes(chroma_edge().args(["heal", "rebuild"]).args(nobody));
    mistakes(chroma_edge().args(["adopt", "--from", "a", "--all", "--collection", "docs"]).args(nobody));
}

#[test]
fn a_new_token_is_printed_once_with_the_line_that_lets_it_in() {
    let make = || stdout(chroma_edge().args(["token", "new", "--name", "cms", "--role", "writer"]));
    let (one, other) = (make(), make());
    let token = one.lines().next().unwrap().to_owned();
    assert!(token.len() > 60 && !other.contains(&token), "{one}");
    let line = one.lines().last().unwrap();
    let digest = chroma_edge::auth::Digest::of(token.as_bytes()).hex();
    assert_eq!(line, format!("- {{ name: cms, role: writer, sha256: {digest} }}"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edge.yaml");
    let minimal = std::fs::read_to_string("conf/minimal.yaml").unwrap();
    std::fs::write(&file, format!("{minimal}  auth:\n    tokens:\n      {line}\n")).unwrap();
    let shown = stdout(chroma_edge().arg("check").arg("--conf").arg(&file));
    assert!(shown.contains("cms (writer)") && !shown.contains(&token), "{shown}");
    chroma_edge().args(["token", "new", "--name", "a b", "--role", "writer"]).assert().code(64);
    chroma_edge().args(["token", "new", "--name", "a", "--role", "owner"]).assert().code(64);
}

#[test]
fn top_needs_a_terminal_and_says_what_there_is_without_one() {
    let said = mistakes(chroma_edge().args(["top", "--url", "http://127.0.0.1:1"]));
    assert!(said.contains("terminal") && said.contains("chroma-edge status --json"), "{said}");
}
