//! Each fault of a link, against a plain TCP server that echoes and records.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use testkit::link::{FaultLink, LinkFault, Server};
use testkit::place::wait_for;

const PATIENCE: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(300);

/// What the server has received, by connection, and whether the connection has ended.
type Received = Vec<(Vec<u8>, bool)>;

/// An echo server behind a link.
struct Echo {
    link: FaultLink,
    received: Arc<Mutex<Received>>,
    _runtime: tokio::runtime::Runtime,
}

impl Echo {
    fn new() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                std::thread::spawn(move || echo(stream, &all));
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let link = FaultLink::to(runtime.handle(), port);
        Echo { link, received, _runtime: runtime }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.link.port())).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    fn received(&self) -> Received {
        self.received.lock().expect("no thread panics here").clone()
    }
}

fn echo(mut stream: TcpStream, all: &Mutex<Received>) {
    let index = {
        let mut all = all.lock().expect("no thread panics here");
        all.push((Vec::new(), false));
        all.len() - 1
    };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        all.lock().expect("no thread panics here")[index].0.extend(&buffer[..count]);
        if stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    all.lock().expect("no thread panics here")[index].1 = true;
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("an open connection");
}

#[track_caller]
fn hear(stream: &mut TcpStream, text: &str) {
    let mut buffer = vec![0; text.len()];
    stream.read_exact(&mut buffer).expect("an answer");
    assert_eq!(buffer, text.as_bytes());
}

/// Returns how the connection ends, after this rest.
#[track_caller]
fn ends(stream: &mut TcpStream, rest: &str) -> Option<ErrorKind> {
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all).err().map(|error| error.kind());
    assert_eq!(String::from_utf8_lossy(&all), rest);
    end
}

#[test]
fn without_a_fault_everything_arrives_and_ends_are_passed_on() {
    let echo = Echo::new();
    let mut stream = echo.connect();
    say(&mut stream, "one");
    hear(&mut stream, "one");
    drop(stream);
    wait_for("the server's side to end", PATIENCE, || {
        echo.received().first().is_some_and(|(_, ended)| *ended).then_some(())
    });
    assert_eq!(echo.link.hits(), 0);
}

#[test]
fn refused_connections_are_refused_and_old_ones_reset() {
    let echo = Echo::new();
    let mut old = echo.connect();
    say(&mut old, "one");
    hear(&mut old, "one");
    echo.link.set(LinkFault::Refuse);
    assert_eq!(ends(&mut old, ""), Some(ErrorKind::ConnectionReset));
    let refused = || TcpStream::connect(("127.0.0.1", echo.link.port())).err().map(|error| error.kind());
    wait_for("a refusal", PATIENCE, || (refused() == Some(ErrorKind::ConnectionRefused)).then_some(()));
    assert!(echo.link.hits() > 0);
    echo.link.set(LinkFault::None);
    let mut stream = wait_for("a connection", PATIENCE, || TcpStream::connect(("127.0.0.1", echo.link.port())).ok());
    say(&mut stream, "two");
    hear(&mut stream, "two");
}

#[test]
fn the_port_of_a_dead_server_refuses() {
    let echo = Echo::new();
    echo.link.server_is(Server::Dead);
    let refused = || TcpStream::connect(("127.0.0.1", echo.link.port())).err().map(|error| error.kind());
    wait_for("a refusal", PATIENCE, || (refused() == Some(ErrorKind::ConnectionRefused)).then_some(()));
    echo.link.set(LinkFault::Delay(Duration::from_millis(1)));
    assert_eq!(refused(), Some(ErrorKind::ConnectionRefused), "another fault does not bring it back");
    echo.link.server_is(Server::Running);
    wait_for("a connection", PATIENCE, || TcpStream::connect(("127.0.0.1", echo.link.port())).ok());
}

#[test]
fn delayed_bytes_arrive_later() {
    let echo = Echo::new();
    let mut stream = echo.connect();
    echo.link.set(LinkFault::Delay(QUIET));
    let start = Instant::now();
    say(&mut stream, "one");
    hear(&mut stream, "one");
    assert!(start.elapsed() >= QUIET * 2, "there and back: {:?}", start.elapsed());
}

#[test]
fn what_is_delayed_is_dropped_when_its_client_closes() {
    let echo = Echo::new();
    let mut stream = echo.connect();
    echo.link.set(LinkFault::Delay(QUIET));
    say(&mut stream, "late");
    wait_for("a delay", PATIENCE, || (echo.link.hits() > 0).then_some(()));
    drop(stream);
    wait_for("the server's side to end", PATIENCE, || {
        echo.received().first().is_some_and(|(_, ended)| *ended).then_some(())
    });
    std::thread::sleep(QUIET * 2);
    assert_eq!(echo.received(), [(Vec::new(), true)]);
}

#[test]
fn reset_connections_are_reset_and_new_ones_too() {
    let echo = Echo::new();
    let mut old = echo.connect();
    say(&mut old, "one");
    hear(&mut old, "one");
    echo.link.set(LinkFault::Reset);
    assert_eq!(ends(&mut old, ""), Some(ErrorKind::ConnectionReset));
    let mut new = echo.connect();
    say(&mut new, "two");
    assert_eq!(ends(&mut new, ""), Some(ErrorKind::ConnectionReset));
    assert!(echo.received().iter().all(|(bytes, _)| bytes != b"two"), "not delivered");
}

#[test]
fn a_black_hole_swallows_for_good() {
    let echo = Echo::new();
    let (mut stays, mut gone) = (echo.connect(), echo.connect());
    for stream in [&mut stays, &mut gone] {
        say(stream, "one");
        hear(stream, "one");
    }
    echo.link.set(LinkFault::BlackHole);
    say(&mut stays, "two");
    say(&mut gone, "two");
    let mut new = echo.connect();
    say(&mut new, "two");
    wait_for("three to be swallowed", PATIENCE, || (echo.link.hits() == 3).then_some(()));
    stays.set_read_timeout(Some(QUIET)).expect("a timeout");
    assert_eq!(stays.read(&mut [0]).err().map(|error| error.kind()), Some(ErrorKind::WouldBlock), "it stays open");
    drop(gone);
    wait_for("the server's side to end", PATIENCE, || echo.received().iter().any(|(_, ended)| *ended).then_some(()));
    echo.link.set(LinkFault::None);
    stays.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert_eq!(ends(&mut stays, ""), Some(ErrorKind::ConnectionReset));
    assert_eq!(ends(&mut new, ""), Some(ErrorKind::ConnectionReset));
    let late = echo.received().iter().any(|(bytes, _)| bytes.windows(3).any(|three| three == b"two"));
    assert!(!late, "{:?}", echo.received());
}

#[test]
fn half_closed_the_request_arrives_and_the_answer_is_an_end() {
    let echo = Echo::new();
    let mut stream = echo.connect();
    echo.link.set(LinkFault::HalfClose);
    say(&mut stream, "one");
    assert_eq!(ends(&mut stream, ""), None, "in good order");
    wait_for("the request", PATIENCE, || {
        echo.received().first().is_some_and(|(bytes, _)| bytes == b"one").then_some(())
    });
    assert!(!echo.received()[0].1, "the server's side stays");
    say(&mut stream, "two");
    wait_for("the next one", PATIENCE, || (echo.received()[0].0 == b"onetwo").then_some(()));
}

#[test]
fn answers_are_cut_after_so_many_bytes() {
    let echo = Echo::new();
    let mut stream = echo.connect();
    say(&mut stream, "before");
    hear(&mut stream, "before");
    echo.link.set(LinkFault::CutResponse(5));
    say(&mut stream, "abc");
    hear(&mut stream, "abc");
    say(&mut stream, "defg");
    assert_eq!(ends(&mut stream, "de"), None);
    assert_eq!(echo.received()[0].0, b"beforeabcdefg");
}

#[test]
fn requests_are_cut_after_so_many_bytes() {
    let echo = Echo::new();
    let mut stream = echo.connect();
    echo.link.set(LinkFault::CutRequest(5));
    say(&mut stream, "abc");
    hear(&mut stream, "abc");
    say(&mut stream, "defg");
    let mut all = Vec::new();
    assert!(stream.read_to_end(&mut all).is_err(), "a reset");
    wait_for("the server's side to end", PATIENCE, || {
        echo.received().first().is_some_and(|(_, ended)| *ended).then_some(())
    });
    // A reset can overtake what came before it.
    assert!(b"abcde".starts_with(&echo.received()[0].0), "{:?}", echo.received());
}
