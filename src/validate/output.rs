//! The report's file: opened before anything else, written after the table has been printed.
//!
//! Decides that neither opening nor writing waits indefinitely for a missing reader.

use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::options::{Format, Output};
use super::report::Report;
use crate::clock;

/// How long the reader of a pipe may leave the report unread.
const READER: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
const NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// A file that is open and still unchanged.
#[derive(Debug)]
pub struct ReportFile {
    file: File,
    path: PathBuf,
    format: Format,
}

impl ReportFile {
    /// Opens the file. A pipe without a reader is an error: waiting for a reader could take forever.
    pub fn open(output: &Output) -> Result<ReportFile, String> {
        let path = output.path.clone();
        let mut options = File::options();
        let file = options.create(true).write(true).truncate(false).custom_flags(NONBLOCK).open(&path);
        match file {
            Ok(file) => Ok(ReportFile { file, path, format: output.format }),
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                Err(format!("the report cannot be written to {}: nobody reads there", path.display()))
            }
            Err(error) => Err(format!("the report cannot be written to {}: {error}", path.display())),
        }
    }

    /// Replaces the file's content.
    pub fn write(mut self, report: &Report) -> Result<(), String> {
        let text = match self.format {
            Format::Text => report.text(),
            Format::Json => report.json(),
        };
        let written = self.replace(text.as_bytes());
        written.map_err(|error| format!("the report could not be written to {}: {error}", self.path.display()))
    }

    fn replace(&mut self, mut rest: &[u8]) -> std::io::Result<()> {
        // Anything but a regular file, such as /dev/stdout, has no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
            self.file.rewind()?;
        }
        let begun = clock::now();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The pipe is full: there is nothing to await but its reader.
                Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < READER => {
                    std::thread::sleep(LOOK);
                }
                Err(error) => return Err(error),
            }
        }
        self.file.flush()
    }
}
