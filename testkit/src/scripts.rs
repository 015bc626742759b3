//! Runs client scripts, in Python or JS, with the official clients and our own, against a URL. A failure shows the
//! output. A script runs to its end, or exchanges lines with the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::place::{installed, repository};

/// Runs `tests/clients/{script}` with the Python client.
pub fn python(script: &str, url: &str, arguments: &[&str]) -> String {
    run(Command::new(installed("client/bin/python")).arg(path(script)).args(["--url", url]).args(arguments), script)
}

/// Runs `tests/clients/{script}` with node and the JS client.
pub fn js(script: &str, url: &str) -> String {
    let modules = installed("js/node_modules");
    run(Command::new("node").arg(path(script)).arg(url).env("NODE_PATH", modules), script)
}

/// Does the same as [`js`], with these environment variables.
pub fn js_with(script: &str, url: &str, variables: &[(&str, &str)]) -> String {
    let modules = installed("js/node_modules");
    let mut command = Command::new("node");
    command.arg(path(script)).arg(url).env("NODE_PATH", modules).envs(variables.iter().copied());
    run(&mut command, script)
}

fn path(script: &str) -> std::path::PathBuf {
    repository().join("tests/clients").join(script)
}

fn run(command: &mut Command, script: &str) -> String {
    let output: Output = undisturbed(command).output().expect("the interpreter");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{text}\n{errors}", output.status);
    text
}

fn undisturbed(command: &mut Command) -> &mut Command {
    // A proxy in the environment would redirect the clients.
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command.env("ANONYMIZED_TELEMETRY", "False")
}

/// A script that exchanges lines with its test. Its output includes its errors. It is killed when dropped.
pub struct Dialogue {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    script: String,
    heard: Vec<String>,
}

/// Longer than any script waits for the edge.
const SILENCE: Duration = Duration::from_secs(150);

impl Dialogue {
    /// Starts `tests/clients/{script}` with the Python client.
    pub fn python(script: &str, url: &str, arguments: &[&str]) -> Dialogue {
        let mut command = Command::new(installed("client/bin/python"));
        Self::start(command.arg(path(script)).args(["--url", url]).args(arguments), script)
    }

    /// Starts `tests/clients/{script}`, an ES module, with node and the JS client.
    pub fn js(script: &str, url: &str) -> Dialogue {
        // With a trailing slash it is a folder to resolve from. ES modules do not use NODE_PATH.
        let modules = installed("js/node_modules").join("");
        Self::start(Command::new("node").arg(path(script)).arg(url).env("CHROMA_JS", modules), script)
    }

    /// Starts this command. Failures refer to it as `script`.
    pub fn of(command: &mut Command, script: &str) -> Dialogue {
        Self::start(command, script)
    }

    fn start(command: &mut Command, script: &str) -> Dialogue {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::piped()).stdout(writer.try_clone().expect("a pipe")).stderr(writer);
        let mut child = undisturbed(command).spawn().expect("the interpreter");
        // The command's copies of the pipe would keep the reader waiting after the script's end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let input = child.stdin.take().expect("a piped input");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(reader).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Dialogue { child, input, lines, script: script.to_owned(), heard: Vec::new() }
    }

    /// Reads until the script prints this line. Returns the lines before it.
    #[track_caller]
    pub fn until(&mut self, line: &str) -> Vec<String> {
        let from = self.heard.len();
        loop {
            match self.lines.recv_timeout(SILENCE) {
                Ok(said) if said == line => return self.heard[from..].to_vec(),
                Ok(said) => self.heard.push(said),
                Err(end) => panic!("{}: no `{line}` ({end}):\n{}", self.script, self.heard.join("\n")),
            }
        }
    }

    /// Returns the next line that it prints.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.lines.recv_timeout(SILENCE).unwrap_or_else(|end| panic!("{}: silent ({end})", self.script))
    }

    /// Sends it an empty line, so that it goes on.
    pub fn answer(&mut self) {
        self.input.write_all(b"\n").expect("a script that listens");
    }

    /// Waits for it to end with success.
    #[track_caller]
    pub fn end(mut self) {
        let rest: Vec<String> = self.lines.iter().collect();
        let status = self.child.wait().expect("our own child");
        assert!(status.success(), "{}: {status}\n{}", self.script, rest.join("\n"));
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // It may have ended by itself. Either way no process is left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
