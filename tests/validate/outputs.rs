//! A report that cannot be written: the run's findings and what it leaves behind are still printed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, symlink};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::command::validate_plainly;
use super::liar::{Liar, made_up};
use testkit::http::DEFAULT;
use testkit::{Cluster, place};

#[test]
fn a_disk_that_is_full_hides_neither_the_table_nor_what_is_left() {
    let cluster = Cluster::two();
    let folder = place::data_dir("validate");
    let link = folder.path().join("report.json");
    symlink("/dev/full", &link).expect("a link");
    let output = link.display().to_string();
    let liar = Liar::before(&cluster.edge, |asked, pass| {
        let listing = asked.method == "GET" && asked.is_page(&format!("{DEFAULT}/collections"));
        if listing { made_up(200, &json!([])) } else { pass(asked) }
    });
    let failed = validate_plainly(liar.url(), &["--only", "collections", "--output", &output]);
    let passed = validate_plainly(&cluster.edge.url(), &["--only", "health", "--output", &output]);
    for (ran, table) in [(&failed, "0 passed, 1 failed"), (&passed, "1 passed, 0 failed")] {
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.stdout.contains(table), "{ran:#?}");
        assert!(ran.stderr.contains("could not be written") && ran.stderr.contains(&output), "{ran:#?}");
    }
    failed.assert_removable(&[&cluster.client()]);
}

#[test]
fn a_pipe_is_written_if_somebody_reads_it_and_is_not_waited_for() {
    let cluster = Cluster::two();
    let folder = place::data_dir("validate");
    let pipe = folder.path().join("report.json");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
    let output = pipe.display().to_string();
    let options = ["--only", "health", "--output", &output];
    let ran = validate_plainly(&cluster.edge.url(), &options);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stderr.contains("nobody reads there"), "{ran:#?}");

    let mut reading = File::options();
    let mut reader = reading.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).expect("the pipe");
    let ran = validate_plainly(&cluster.edge.url(), &options);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["passed"], true);
}
