//! A request that is given up must be in doubt, and its connection must be gone: closed, not half-closed, with nothing
//! of the request left in the kernel's buffers to arrive later.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use chroma_edge::instance::{Observation, Phase, SendError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::server::{FREE, LONG, ONLY, client_of, listen, post, read_header, read_request};

/// A half-closed connection would also show an end here, but still accept an answer.
async fn assert_closed_by_reset(mut stream: TcpStream) {
    let read = tokio::time::timeout(LONG, stream.read_u8()).await.expect("the connection is closed at once");
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn at_the_deadline() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        assert_closed_by_reset(stream).await;
    });
    let (registry, client) = client_of(address);
    let error = client.send(ONLY, &post("{}"), Duration::from_millis(100), FREE).await.unwrap_err();
    assert_eq!(error, SendError::InDoubt { reason: "no answer within 100ms".to_owned() });
    assert_eq!(registry.phase(ONLY), Phase::Suspect);
    server.await.unwrap();
}

#[tokio::test]
async fn when_the_future_is_dropped() {
    let (listener, address) = listen().await;
    let (registry, client) = client_of(address);
    let (arrived, arrival) = oneshot::channel();
    let counted = Arc::clone(&registry);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        arrived.send(counted.in_flight(ONLY)).unwrap();
        assert_closed_by_reset(stream).await;
    });
    let request = post("{}");
    tokio::select! {
        _ = client.send(ONLY, &request, LONG, FREE) => panic!("an answer came"),
        under_way = arrival => assert_eq!(under_way, Ok(1)),
    }
    assert_eq!(registry.in_flight(ONLY), 0);
    server.await.unwrap();
}

#[tokio::test]
async fn as_soon_as_the_instance_is_down() {
    let (listener, address) = listen().await;
    let (registry, client) = client_of(address);
    let probes = Arc::clone(&registry);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        probes.observe(ONLY, Observation::ProbeFailed);
        probes.observe(ONLY, Observation::ProbeFailed);
        assert_closed_by_reset(stream).await;
    });
    let request = post("{}");
    let sent = tokio::time::timeout(LONG, client.send(ONLY, &request, LONG * 10, FREE)).await.expect("given up early");
    assert_eq!(sent.unwrap_err(), SendError::InDoubt { reason: "the instance is down".to_owned() });
    server.await.unwrap();
}

#[tokio::test]
async fn what_was_still_in_the_buffers_does_not_arrive_later() {
    let (listener, address) = listen().await;
    let (registry, client) = client_of(address);
    let (give_up, given_up) = oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_header(&mut stream).await;
        // Like a stopped server: the kernel buffers what it can, and nothing reads it.
        given_up.await.unwrap();
        let mut body = Vec::new();
        let end = stream.read_to_end(&mut body).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        body.len()
    });
    let length = 8 << 20;
    let error = client.send(ONLY, &post(vec![b'x'; length]), Duration::from_millis(300), FREE).await.unwrap_err();
    assert!(matches!(error, SendError::InDoubt { .. }), "{error}");
    assert_eq!(registry.in_flight(ONLY), 0);
    give_up.send(()).unwrap();
    assert!(server.await.unwrap() < length);
}
