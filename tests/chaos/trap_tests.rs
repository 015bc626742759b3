//! Marks in requests, against a plain TCP server that records them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::link::FaultLink;
use testkit::place::wait_for;
use testkit::trap::{Deed, Trap};

const PATIENCE: Duration = Duration::from_secs(10);

/// A server behind a link with a trap: what it received, and the names that the trap reported.
struct Stage {
    link: FaultLink,
    received: Arc<Mutex<Vec<u8>>>,
    told: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    fn set(deed: Deed) -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&received);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        all.lock().expect("no thread panics here").extend_from_slice(&buffer[..count]);
                    }
                });
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let link = FaultLink::to(runtime.handle(), port);
        let told = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&told);
        let note = move |name: &str| names.lock().expect("no thread panics here").push(name.to_owned());
        link.lay(Trap { mark: "=kills-1!".to_owned(), deed, told: Arc::new(note) });
        Stage { link, received, told, _runtime: runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.link.port())).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        stream
    }

    fn send(&self, stream: &mut TcpStream, text: &str) {
        let before = self.received().len();
        stream.write_all(text.as_bytes()).expect("what is sent");
        wait_for("it has arrived", PATIENCE, || (self.received().len() == before + text.len()).then_some(()));
    }

    fn received(&self) -> String {
        String::from_utf8(self.received.lock().expect("no thread panics here").clone()).expect("text")
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("no thread panics here").clone()
    }
}

#[test]
fn a_deadly_mark_is_never_delivered_whole_and_the_server_is_dead() {
    let stage = Stage::set(Deed::Kill);
    let mut stream = stage.connect();
    stage.send(&mut stream, "{\"mark\": \"w1-2=kills-11!\", \"other\": \"w3-4=ki");
    stream.write_all(b"lls-1!\"}").expect("what is sent");
    let end = stream.read(&mut [0; 10]);
    assert!(!matches!(end, Ok(1..)), "{end:?}");
    assert_eq!(stage.told(), ["w3-4"]);
    assert!(stage.received().ends_with("w3-4=ki"), "{}", stage.received());
    wait_for("its port to be closed", PATIENCE, || {
        TcpStream::connect(("127.0.0.1", stage.link.port())).is_err().then_some(())
    });
}

#[test]
fn what_fails_is_answered_in_the_servers_stead() {
    let stage = Stage::set(Deed::Fail);
    let mut stream = stage.connect();
    stream.write_all(b"\"w3-4=kills-1!\" and more").expect("what is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and its end");
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("InternalError"), "{answer}");
    assert_eq!((stage.told(), stage.received()), (vec!["w3-4".to_owned()], String::new()));
    // The server runs, and a lifted mark is ordinary text.
    stage.link.lift("=kills-1!");
    let mut stream = stage.connect();
    stage.send(&mut stream, "\"w5-6=kills-1!\"");
    assert_eq!(stage.told().len(), 1);
}
