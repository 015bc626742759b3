//! Kept connections, and what happens when the other side did not keep them.

use std::io::ErrorKind;
use std::net::SocketAddr;

use chroma_edge::instance::{Observation, SendError, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::server::{FREE, LONG, ONLY, client_of, client_with, get, listen, post, read_request};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn answer(stream: &mut TcpStream, answer: &[u8]) {
    read_request(stream).await;
    stream.write_all(answer).await.unwrap();
}

/// Sends one request, and another one after `happens`. Both are answered.
async fn ask_before_and_after(address: SocketAddr, happens: oneshot::Receiver<()>) {
    let (_, client) = client_of(address);
    client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    happens.await.unwrap();
    client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
}

#[tokio::test]
async fn a_connection_serves_request_after_request_but_not_past_a_departure() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            answer(&mut stream, OK).await;
        }
        let (mut second, _) = listener.accept().await.unwrap();
        answer(&mut second, OK).await;
    });
    let (registry, client) = client_of(address);
    for _ in 0..3 {
        client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    }
    registry.observe(ONLY, Observation::Refused);
    registry.observe(ONLY, Observation::ProbeOk);
    client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let (listener, address) = listen().await;
    let (closed, closing) = oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, OK).await;
        drop(stream);
        closed.send(()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, OK).await;
    });
    ask_before_and_after(address, closing).await;
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_ends_its_connection_does_not_leave_it_in_the_pool() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        for last in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            OK,
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            answer(&mut stream, last).await;
            if last != OK {
                let end = stream.read_u8().await.unwrap_err().kind();
                assert_eq!(end, ErrorKind::ConnectionReset, "closed, and not half-closed first");
            }
        }
    });
    let (_, client) = client_of(address);
    for _ in 0..3 {
        client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    }
    server.await.unwrap();
}

/// Starts a server whose kept connection dies at the second request without an answer. New connections are answered.
async fn dies_at_the_second_request() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, OK).await;
        read_request(&mut stream).await;
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain").await;
    });
    (address, server)
}

#[tokio::test]
async fn a_write_on_a_kept_connection_that_dies_is_in_doubt_and_not_sent_again() {
    let (address, server) = dies_at_the_second_request().await;
    let (_, client) = client_of(address);
    client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    let error = client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap_err();
    assert!(matches!(error, SendError::InDoubt { .. }), "{error}");
    assert!(!server.is_finished(), "nothing was sent again");
    client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    server.await.unwrap();
}

#[tokio::test]
async fn a_read_on_a_kept_connection_that_dies_is_sent_once_more() {
    let (address, server) = dies_at_the_second_request().await;
    let (_, client) = client_of(address);
    client.send_idempotent(ONLY, &get(), LONG).await.unwrap();
    let answer = client.send_idempotent(ONLY, &get(), LONG).await.unwrap();
    assert_eq!(&answer.body[..], b"again");
    server.await.unwrap();
}

#[tokio::test]
async fn a_read_on_a_new_connection_that_dies_is_not_sent_again() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        drop(stream);
        listener
    });
    let (_, client) = client_of(address);
    let error = client.send_idempotent(ONLY, &get(), LONG).await.unwrap_err();
    assert!(matches!(error, SendError::InDoubt { .. }), "{error}");
    let listener = server.await.unwrap();
    let again = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
    assert!(again.is_err(), "no second connection");
}

#[tokio::test]
async fn a_read_comes_with_its_body_at_once() {
    let (listener, address) = listen().await;
    let body = "x".repeat(10_000);
    let whole = body.len();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = vec![0; 64 * 1024];
        for _ in 0..3 {
            // One read is enough: the kernel was given header and body together.
            let length = stream.read(&mut received).await.unwrap();
            let request = String::from_utf8_lossy(&received[..length]).into_owned();
            let (header, body) = request.split_once("\r\n\r\n").unwrap();
            assert!(header.starts_with("POST /api/v2/add HTTP/1.1\r\n"), "{header}");
            assert!(header.to_ascii_lowercase().contains(&format!("content-length: {whole}")), "{header}");
            assert_eq!(body.len(), whole);
            stream.write_all(OK).await.unwrap();
        }
    });
    let (_, client) = client_of(address);
    for _ in 0..3 {
        client.send_idempotent(ONLY, &post(body.clone()), LONG).await.unwrap();
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_on_which_something_comes_unasked_is_not_used() {
    let (listener, address) = listen().await;
    let (closed, closing) = oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        answer(&mut first, OK).await;
        first.write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert!(first.read_u8().await.is_err(), "it is closed by itself");
        closed.send(()).unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        answer(&mut second, OK).await;
    });
    ask_before_and_after(address, closing).await;
    server.await.unwrap();
}

#[tokio::test]
async fn what_is_idle_for_too_long_is_closed_by_itself() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, OK).await;
        stream.read_u8().await.unwrap_err().kind()
    });
    let timeouts = Timeouts { idle: std::time::Duration::from_millis(100), ..Timeouts::default() };
    let (_registry, client) = client_with(&format!("http://{address}"), timeouts);
    client.send(ONLY, &post("{}"), LONG, FREE).await.unwrap();
    let end = tokio::time::timeout(LONG, server).await.expect("nobody has to ask for it").unwrap();
    assert_eq!(end, ErrorKind::ConnectionReset, "closed, and not half-closed");
}
