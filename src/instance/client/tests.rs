//! When a lease ends in the course of one write: at each check of the lease.

use std::sync::atomic::AtomicUsize;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::transfer::PIECE;
use super::*;
use crate::ids::InstanceName;
use crate::instance::{HealthOptions, InstanceOptions, InstanceUrl, Timeouts, Trust, UpstreamHeaders};
use crate::lease::Lease;

const ONLY: InstanceId = InstanceId(0);

fn request(body: usize) -> Outgoing {
    let method = if body == 0 { Method::DELETE } else { Method::POST };
    Outgoing { method, path: "/x".to_owned(), headers: Vec::new(), body: vec![b'x'; body].into() }
}

/// Sends a body of this many bytes with a lease that lasts for this many checks. Returns also how many bytes of the
/// body arrived, if the header did.
async fn send(body: usize, questions: usize) -> (Result<u16, SendError>, Option<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = InstanceUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let options = InstanceOptions {
        name: InstanceName::new("primary"),
        url,
        trust: Trust::default(),
        headers: UpstreamHeaders::default(),
    };
    let registry = Registry::new(vec![options], Timeouts::default(), HealthOptions::default()).unwrap();
    registry.observe(ONLY, Observation::ProbeOk);
    registry.admit(ONLY, registry.generation(ONLY));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let header_end = |received: &[u8]| received.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        while header_end(&received).is_none_or(|end| received.len() < end + body) {
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return header_end(&received).map(|end| received.len() - end);
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        Some(body)
    });
    let left = AtomicUsize::new(questions);
    let client = Client::new(Arc::clone(&registry));
    let licence = Licence::Questions(&left);
    let sent = client.send(ONLY, &request(body), Duration::from_secs(10), licence).await;
    assert_eq!(registry.phase(ONLY), Phase::Up, "whatever happened, the instance is not to blame");
    (sent.map(|answer| answer.status), server.await.unwrap())
}

#[tokio::test]
async fn each_question_is_asked_in_its_place() {
    use Sent::{Nothing, Part, Whole};
    for (body, ends) in
        [(0, vec![Nothing, Whole]), (9, vec![Nothing, Part, Whole]), (PIECE + 1, vec![Nothing, Part, Part, Whole])]
    {
        for (questions, end) in ends.iter().enumerate() {
            let (sent, received) = send(body, questions).await;
            assert_eq!(sent, Err(SendError::LeaseEnded(*end)), "{body} bytes, {questions} questions");
            match end {
                Nothing => assert_eq!(received, None),
                Part => assert!(received.is_none_or(|received| received < body), "{received:?} of {body}"),
                // The error is right: the instance has the whole body.
                Whole => {}
            }
        }
        assert_eq!(send(body, ends.len()).await, (Ok(200), Some(body)), "{body} bytes");
    }
}

#[test]
fn what_is_abandoned_with_its_last_byte_on_the_way_is_late_unless_the_lease_lasts() {
    let lease = Lease::for_life();
    let sending = lease.sending();
    let licence = Licence::Lease(&sending);
    let doubt = || SendError::InDoubt { reason: "x".to_owned() };
    let at = |last_piece: bool, in_time: bool| Progress {
        last_piece: last_piece.into(),
        in_time: in_time.into(),
        ..Progress::default()
    };
    assert_eq!(at(true, false).judged(doubt(), licence), doubt(), "the lease lasts");
    lease.end();
    assert_eq!(at(true, false).judged(doubt(), licence), SendError::LeaseEnded(Sent::Whole));
    assert_eq!(at(false, false).judged(doubt(), licence), doubt(), "never whole");
    assert_eq!(at(true, true).judged(doubt(), licence), doubt(), "handed over in time");
    assert_eq!(at(true, false).judged(doubt(), Licence::NotNeeded), doubt());
}

#[tokio::test]
async fn a_server_that_has_gone_is_told_from_one_that_closed_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = InstanceUrl::parse(&format!("http://{address}")).unwrap();
    let options = InstanceOptions {
        name: InstanceName::new("primary"),
        url,
        trust: Trust::default(),
        headers: UpstreamHeaders::default(),
    };
    let registry = Registry::new(vec![options], Timeouts::default(), HealthOptions::default()).unwrap();
    registry.observe(ONLY, Observation::ProbeOk);
    registry.admit(ONLY, registry.generation(ONLY));
    let client = Client::new(Arc::clone(&registry));
    let since = registry.generation(ONLY);
    let answers = |status: &'static str| {
        let listener = &listener;
        async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut received).await.unwrap();
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let (vital, ()) = tokio::join!(client.vital(ONLY, since), answers("200 OK"));
    assert_eq!((vital, registry.in_flight(ONLY)), (Vital::Answers, 0), "a look counts as no request");
    let (vital, ()) = tokio::join!(client.vital(ONLY, since), answers("502 Bad Gateway"));
    assert_eq!(vital, Vital::Gone, "a gateway speaks for nobody");
    let (vital, ()) = tokio::join!(client.vital(ONLY, Generation(since.0 - 1)), answers("200 OK"));
    assert_eq!(vital, Vital::Gone, "it has died and is back");
    drop(listener);
    assert_eq!(client.vital(ONLY, since).await, Vital::Gone);
    assert_eq!(registry.phase(ONLY), Phase::Down, "and that is known at once");
}
