//! Runs the official clients: a Python or a JS script against a URL, its output shown when it fails.

use std::path::Path;
use std::process::{Command, Output};

use super::place::installed;

/// Runs `tests/clients/{script}` with the Python client.
pub fn python(script: &str, url: &str, arguments: &[&str]) -> String {
    run(Command::new(installed("client/bin/python")).arg(path(script)).args(["--url", url]).args(arguments), script)
}

/// Runs `tests/clients/{script}` with node and the JS client.
pub fn js(script: &str, url: &str) -> String {
    let modules = installed("js/node_modules");
    run(Command::new("node").arg(path(script)).arg(url).env("NODE_PATH", modules), script)
}

fn path(script: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script)
}

fn run(command: &mut Command, script: &str) -> String {
    // A proxy in the environment would take the clients elsewhere.
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let output: Output = command.env("ANONYMIZED_TELEMETRY", "False").output().expect("the interpreter");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{text}\n{errors}", output.status);
    text
}
