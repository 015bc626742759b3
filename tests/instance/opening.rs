//! Answers that are read piece by piece: complete, cut, silent, and from an instance that goes away meanwhile.

use std::sync::Arc;
use std::time::Duration;

use chroma_edge::instance::{Cause, Client, Incoming, Observation, Phase, Registry, Repeat, SendError, Unanswered};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::server::{LONG, ONLY, client_of, get, listen, read_request};

/// Starts a server that writes these answers to the requests of one connection, and then closes it or waits.
async fn serve(listener: TcpListener, answers: Vec<&'static [u8]>, then_close: bool) {
    let (mut stream, _) = listener.accept().await.unwrap();
    for answer in answers {
        read_request(&mut stream).await;
        stream.write_all(answer).await.unwrap();
    }
    if !then_close {
        std::future::pending::<()>().await;
    }
}

async fn open(client: &Client) -> Incoming {
    client.open(ONLY, (&get(), "/"), LONG, Repeat::Once).await.unwrap_or_else(|lost| panic!("{}", lost.error))
}

/// Reads the whole body. Returns it, and how it ended.
async fn read(registry: &Registry, incoming: &mut Incoming, within: Duration) -> (Vec<u8>, Option<Unanswered>) {
    let from = (ONLY, registry.generation(ONLY));
    let mut body = Vec::new();
    while !incoming.is_done() {
        match incoming.piece(registry, from, within).await {
            Ok(Some(piece)) => body.extend_from_slice(piece),
            Ok(None) => break,
            Err(lost) => return (body, Some(lost)),
        }
    }
    (body, None)
}

#[tokio::test]
async fn of_every_framing_and_the_connection_is_kept() {
    let (listener, address) = listen().await;
    let answers: Vec<&[u8]> = vec![
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: x-own\r\nx-own: 1\r\nx-far: 2\r\n\r\nabcde",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
    ];
    let server = tokio::spawn(serve(listener, answers, true));
    let (registry, client) = client_of(address);
    for announced in [Some(5), None] {
        let mut incoming = open(&client).await;
        assert_eq!((incoming.status().as_u16(), incoming.announced()), (200, announced));
        let (body, lost) = read(&registry, &mut incoming, LONG).await;
        assert_eq!((body.as_slice(), lost.is_none()), (b"abcde".as_slice(), true));
        let headers = incoming.end_to_end();
        assert!(!headers.contains_key("x-own") && !headers.contains_key("content-length"), "{headers:?}");
        assert_eq!(registry.in_flight(ONLY), 1, "it is under way until it is given back");
        client.finish(incoming).await;
        assert_eq!(registry.in_flight(ONLY), 0);
    }
    // Both used one connection: the server accepts no second one.
    server.await.unwrap();
}

#[tokio::test]
async fn what_is_cut_is_an_error_and_nothing_is_held_against_the_instance() {
    let cut: [&'static [u8]; 3] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabcde",
    ];
    for answer in cut {
        let (listener, address) = listen().await;
        let server = tokio::spawn(serve(listener, vec![answer], true));
        let (registry, client) = client_of(address);
        let mut incoming = open(&client).await;
        let (_, lost) = read(&registry, &mut incoming, LONG).await;
        let lost = lost.unwrap_or_else(|| panic!("taken for whole: {}", String::from_utf8_lossy(answer)));
        assert_eq!((lost.cause, registry.phase(ONLY)), (Cause::Other, Phase::Up));
        server.await.unwrap();
    }
}

#[tokio::test]
async fn silence_ends_with_the_time_and_a_departure_at_once() {
    for departs in [false, true] {
        let (listener, address) = listen().await;
        let answer: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcde";
        let server = tokio::spawn(serve(listener, vec![answer], false));
        let (registry, client) = client_of(address);
        let mut incoming = open(&client).await;
        let within = if departs { LONG * 10 } else { Duration::from_millis(100) };
        let probes = Arc::clone(&registry);
        let reading = async {
            let ended = tokio::time::timeout(LONG, read(&registry, &mut incoming, within)).await;
            ended.expect("it ends").1.expect("it is not whole")
        };
        let departing = async {
            if departs {
                tokio::task::yield_now().await;
                probes.observe(ONLY, Observation::Refused);
            }
        };
        let (lost, ()) = tokio::join!(reading, departing);
        assert_eq!(lost.cause, if departs { Cause::Other } else { Cause::Silence }, "{}", lost.error);
        server.abort();
    }
}

#[tokio::test]
async fn no_answer_within_the_time_is_silence_and_a_closed_connection_is_not() {
    for (close, cause) in [(true, Cause::Other), (false, Cause::Silence)] {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            if !close {
                std::future::pending::<()>().await;
            }
        });
        let (registry, client) = client_of(address);
        let lost =
            client.open(ONLY, (&get(), "/"), Duration::from_millis(300), Repeat::Never).await.err().expect("no answer");
        assert_eq!((lost.cause, registry.phase(ONLY)), (cause, Phase::Up), "{}", lost.error);
        assert!(matches!(lost.error, SendError::InDoubt { .. }), "{}", lost.error);
        server.abort();
    }
}
