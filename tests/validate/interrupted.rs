//! Ctrl-C in the middle: the run ends at once and names what it leaves behind.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::command::{command, end_of};
use super::liar::Liar;
use testkit::Cluster;
use testkit::chroma::pid;

#[test]
fn what_is_left_is_named_with_its_removal() {
    for (operation, signal) in [("/collections", Signal::SIGINT), ("/query", Signal::SIGTERM)] {
        let cluster = Cluster::two();
        let (reached, at) = channel();
        let (hold, held) = channel::<()>();
        let (reached, held) = (Mutex::new(reached), Mutex::new(held));
        let liar = Liar::before(&cluster.edge, move |asked, pass| {
            let answer = pass(asked);
            if asked.method == "POST" && asked.path.ends_with(operation) {
                reached.lock().expect("no thread panics here").send(()).expect("the test");
                // Waits until the test is over: the answer never comes.
                let _ = held.lock().expect("no thread panics here").recv();
            }
            answer
        });
        let child = command(liar.url(), &["--only", "documents"]).spawn().expect("the command");
        at.recv_timeout(Duration::from_secs(30)).expect("the operation");
        kill(pid(&child), signal).expect("a signal to our own child");
        let ran = end_of(child);
        assert_eq!(ran.code, Some(130), "{ran:#?}");
        assert!(ran.stderr.contains("interrupted; what this run has made is left"), "{ran:#?}");
        drop(hold);
        ran.assert_removable(&[&cluster.client(), &cluster.servers[0].client()]);
    }
}
