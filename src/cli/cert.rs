//! `chroma-edge cert`: a certificate for trying out TLS on the listener.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is to be made.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Asked {
    /// A certificate that is its own authority, and its key: for tests, not for clients that shall trust it by themselves.
    SelfSigned(SelfSigned),
}

#[derive(Debug, clap::Args)]
pub(super) struct SelfSigned {
    /// The folder for edge-cert.pem and edge-key.pem, which must not exist there yet.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// A name or an address that clients will use; may be given several times.
    #[arg(long = "name", value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    names: Vec<String>,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    let Asked::SelfSigned(asked) = asked;
    match make(&asked) {
        Ok((cert, key)) => {
            println!(
                "edge:\n  tls: {{ cert: {:?}, key: {:?} }}",
                cert.display().to_string(),
                key.display().to_string()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn make(asked: &SelfSigned) -> Result<(PathBuf, PathBuf), String> {
    let made = rcgen::generate_simple_self_signed(asked.names.clone()).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&asked.out).map_err(|error| format!("{}: {error}", asked.out.display()))?;
    let (cert, key) = (asked.out.join("edge-cert.pem"), asked.out.join("edge-key.pem"));
    // The key first: without it, the certificate is useless.
    write(&key, &made.signing_key.serialize_pem(), 0o600)?;
    write(&cert, &made.cert.pem(), 0o644)?;
    Ok((cert, key))
}

/// Writes a new file; never overwrites one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| format!("{}: {error}", path.display()))
}
