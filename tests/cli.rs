//! The program's commands and exit codes, as a shell sees them.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use assert_cmd::Command;

/// The program, free of variables that this shell may have set.
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
