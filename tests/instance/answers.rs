//! What counts as an answer, and what does not.

use std::time::Duration;

use chroma_edge::instance::{Licence, Phase, Refused, SendError};
use chroma_edge::lease::Lease;
use tokio::io::AsyncWriteExt;

use crate::server::{FREE, LONG, ONLY, client_of, get, listen, post, read_header, read_request};

#[tokio::test]
async fn a_refused_connection_is_not_sent_and_marks_the_instance_down() {
    let (listener, address) = listen().await;
    drop(listener);
    let (registry, client) = client_of(address);
    let error = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent { refused: Refused::Yes, .. }), "{error}");
    assert_eq!(registry.phase(ONLY), Phase::Down);
    assert_eq!(registry.last_error(ONLY).as_deref(), Some("the connection was refused"));
    let error = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap_err();
    assert_eq!(error, SendError::NotSent { reason: "the instance is down".to_owned(), refused: Refused::No });
}

#[tokio::test]
async fn the_request_arrives_as_it_is_with_our_host_and_framing() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\nchroma-trace-id: 7\r\n\r\n{}").await.unwrap();
        request
    });
    let (registry, client) = client_of(address);
    let answer = client.send(ONLY, &post("[1]"), LONG, FREE).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..], &answer.headers["chroma-trace-id"]),
        (201, &b"{}"[..], &"7".parse().unwrap())
    );
    let (header, body) = server.await.unwrap();
    let header = header.to_ascii_lowercase();
    assert!(header.starts_with("post /api/v2/add http/1.1\r\n"), "{header}");
    assert!(header.contains(&format!("\r\nhost: {address}\r\n")) && header.contains("\r\ncontent-length: 3\r\n"));
    assert_eq!(body, b"[1]");
    assert_eq!((registry.phase(ONLY), registry.in_flight(ONLY)), (Phase::Up, 0));
}

#[tokio::test]
async fn informational_answers_are_passed_over_and_chunks_are_joined() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        for piece in [
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: keep-alive, x-own\r\nx-own: 1\r\n\r\n",
            "3\r\nabc\r\n",
            "2\r\nde\r\n0\r\n\r\n",
        ] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream
    });
    let (_, client) = client_of(address);
    let answer = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    assert_eq!((answer.status, &answer.body[..], answer.headers.len()), (200, &b"abcde"[..], 0));
    drop(server.await.unwrap());
}

#[tokio::test]
async fn an_answer_given_before_the_body_was_read_is_an_answer() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_header(&mut stream).await;
            let answer = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 9\r\n\r\ntoo large";
            stream.write_all(answer).await.unwrap();
            // Closing with unread data resets the connection while the client is writing.
        }
    });
    let (registry, client) = client_of(address);
    for _ in 0..2 {
        let answer = client.send(ONLY, &post(vec![b'x'; 50 << 20]), LONG, FREE).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (413, &b"too large"[..]));
    }
    assert_eq!(registry.phase(ONLY), Phase::Up);
    server.await.unwrap();
}

#[tokio::test]
async fn a_large_body_reaches_a_slow_reader_whole() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (_, body) = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        body
    });
    let (_, client) = client_of(address);
    let body: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 4]).collect();
    assert_eq!(client.send(ONLY, &post(body.clone()), LONG, FREE).await.unwrap().status, 201);
    assert!(server.await.unwrap() == body);
}

#[tokio::test]
async fn a_cut_answer_and_one_without_end_are_in_doubt() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{}", "x".repeat(2000));
        for answer in [
            "",
            "HTTP/1.1 200 O",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            "nonsense\r\n\r\n",
            &endless,
            &endless,
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let (registry, client) = client_of(address);
    let client = client.with_max_answer_bytes(1000);
    for _ in 0..4 {
        let error = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap_err();
        assert!(matches!(error, SendError::InDoubt { .. }), "{error}");
    }
    assert_eq!(registry.phase(ONLY), Phase::Suspect);
    let lease = Lease::for_life();
    let sending = lease.sending();
    let error = client.send(ONLY, &post("{}"), LONG, Licence::Lease(&sending)).await.unwrap_err();
    assert!(matches!(error, SendError::InDoubt { .. }), "what a write came to is not known: {error}");
    let error = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap_err();
    assert!(matches!(error, SendError::TooLong { most: 1000 }), "a read can be asked again in parts: {error}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_reset_after_the_request_is_in_doubt() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    });
    let (registry, client) = client_of(address);
    let error = client.send(ONLY, &get(), LONG, FREE).await.unwrap_err();
    assert!(matches!(error, SendError::InDoubt { .. }), "{error}");
    assert_eq!(registry.phase(ONLY), Phase::Suspect);
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_drips_does_not_outlast_the_deadline() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b"x").await.is_ok() {
            pause.tick().await;
        }
    });
    let (_, client) = client_of(address);
    let error = client.send(ONLY, &post("{}"), Duration::from_millis(200), FREE).await.unwrap_err();
    assert_eq!(error, SendError::InDoubt { reason: "no answer within 200ms".to_owned() });
    tokio::time::timeout(LONG, server).await.expect("the connection was closed").unwrap();
}
