//! A write is sent only while its lease lasts: not a byte is sent afterwards, and what may have been sent is reported.

use std::time::Duration;

use bytes::Bytes;
use chroma_edge::instance::{Licence, Phase, SendError, Sent};
use chroma_edge::lease::Lease;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{FREE, LONG, ONLY, client_of, get, listen, post, read_header, read_request};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn without_a_lease_not_a_byte_is_sent_and_the_instance_is_not_to_blame() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        // It is closed at once, and may be reset.
        let _ = stream.read_to_end(&mut all).await;
        all
    });
    let (registry, client) = client_of(address);
    let lease = Lease::none();
    let sending = lease.sending();
    let error = client.send(ONLY, &post("{}"), LONG, Licence::Lease(&sending)).await.unwrap_err();
    assert_eq!(error, SendError::LeaseEnded(Sent::Nothing));
    assert_eq!(server.await.unwrap(), b"", "the connection was closed, with nothing on it");
    assert_eq!(registry.phase(ONLY), Phase::Up);
    // Registered as being sent until it is dropped.
    assert!(tokio::time::timeout(Duration::from_millis(20), lease.sends_done()).await.is_err());
    drop(sending);
    lease.sends_done().await;
}

#[tokio::test]
async fn a_write_in_time_is_answered_and_counts_no_more_when_its_last_byte_is_out() {
    let (listener, address) = listen().await;
    let lease = Lease::for_life();
    let (_, client) = client_of(address);
    let sending = lease.sending();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        // There is no answer, but a request that was handed over in time no longer needs a lease.
        lease.sends_done().await;
        lease.end();
        stream.write_all(OK).await.unwrap();
    };
    let request = post("{}");
    let (sent, ()) = tokio::join!(client.send(ONLY, &request, LONG, Licence::Lease(&sending)), server);
    assert_eq!(sent.unwrap().status, 200);
}

#[tokio::test]
async fn a_lease_that_ends_between_two_pieces_leaves_half_a_request_on_a_closed_connection() {
    let (listener, address) = listen().await;
    let (registry, client) = client_of(address);
    let lease = Lease::for_life();
    let sending = lease.sending();
    let length = 64 << 20;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_header(&mut stream).await;
        // The connection's buffers hold only a part of such a body.
        lease.end();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).await;
        (rest.len(), end.is_ok())
    };
    let request = post(vec![b'x'; length]);
    let (sent, (received, _)) = tokio::join!(client.send(ONLY, &request, LONG, Licence::Lease(&sending)), server);
    assert_eq!(sent.unwrap_err(), SendError::LeaseEnded(Sent::Part));
    assert!(received < length, "{received}");
    assert_eq!(registry.phase(ONLY), Phase::Up);
}

#[tokio::test]
async fn reads_need_no_lease() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
        }
    });
    let (_, client) = client_of(address);
    client.send(ONLY, &get(), LONG, FREE).await.unwrap();
    client.send_idempotent(ONLY, &get(), LONG).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn the_bodiless_request_is_out_with_its_header() {
    let (listener, address) = listen().await;
    let (_, client) = client_of(address);
    let lease = Lease::for_life();
    let sending = lease.sending();
    let mut request = get();
    request.method = Method::DELETE;
    request.body = Bytes::new();
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        lease.sends_done().await;
        stream.write_all(OK).await.unwrap();
    };
    let (sent, ()) = tokio::join!(client.send(ONLY, &request, LONG, Licence::Lease(&sending)), server);
    assert_eq!(sent.unwrap().status, 200);
}
