//! Which requests are recorded and how their spans are connected, and what happens to spans that wait or are refused.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock;
use crate::instance::{Target, TargetUrl, UpstreamHeaders};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (TRACEPARENT, value.parse().unwrap())).collect()
}

fn request(tracer: &Tracer, values: &[&str]) -> RequestTrace {
    tracer.request(&headers(values), clock::now())
}

#[test]
fn whoever_began_a_trace_decides_whether_it_is_recorded() {
    let parent = TraceContext::parse(PARENT).unwrap();
    let never = Tracer::new(0.0, 1).0;
    let recorded = request(&never, &[PARENT]);
    let span = recorded.span.unwrap();
    assert_eq!((span.context.trace, span.parent), (parent.trace, Some(parent.span)));
    assert_eq!(recorded.context, Some(span.context));
    let always = Tracer::new(1.0, 1).0;
    let unsampled = PARENT.replace("-01", "-00");
    let passed_on = request(&always, &[&unsampled]);
    assert_eq!((passed_on.context, passed_on.span.is_none()), (TraceContext::parse(&unsampled), true));
    assert!(always.child(passed_on.context.unwrap(), Kind::Client, "attempt", clock::now()).is_none());
}

#[test]
fn without_a_parent_the_ratio_decides_and_a_trace_begins() {
    let never = Tracer::new(0.0, 1).0;
    let always = Tracer::new(1.0, 1).0;
    for values in [&[][..], &["nonsense"], &[PARENT, PARENT]] {
        let off = request(&never, values);
        assert!(off.context.is_none() && off.span.is_none(), "{values:?}");
        let span = request(&always, values).span.unwrap();
        assert!(span.begins_its_trace() && !PARENT.contains(&format!("{:032x}", span.context.trace)), "{values:?}");
    }
}

#[test]
fn what_is_done_later_is_linked_to_each_that_is_recorded() {
    let tracer = Tracer::new(1.0, 1).0;
    let contexts: Vec<_> = (0..200).map(|_| request(&tracer, &[]).context.unwrap()).collect();
    let unsampled = TraceContext { sampling: Sampling::Unsampled, ..contexts[0] };
    let linked = |of: &[TraceContext]| tracer.linked(of.iter().copied(), Kind::Client, "replicate", clock::now());
    assert!(linked(&[]).is_none() && linked(&[unsampled]).is_none());
    let span = linked(&[contexts[0], unsampled, contexts[1]]).unwrap();
    assert_eq!((span.links.as_slice(), span.parent), (&contexts[..2], None));
    assert!(contexts.iter().all(|context| context.trace != span.context.trace));
    let many = linked(&contexts).unwrap();
    assert_eq!((many.links.len(), many.links_dropped), (128, 72));
}

#[tokio::test]
async fn a_full_queue_drops_what_ends_and_keeps_nobody_waiting() {
    let (tracer, mut ended) = Tracer::new(1.0, 2);
    for _ in 0..3 {
        tracer.end(request(&tracer, &[]).span.unwrap());
    }
    assert_eq!(tracer.waiting(), (2, 2));
    tracer.flush(Duration::from_millis(1)).await;
    let mut kept = 0;
    while let Ok(Message::Ended(span)) = ended.try_recv() {
        assert!(span.ended_nanos >= span.began_nanos);
        kept += 1;
    }
    assert_eq!(kept, 2);
}

/// Answers one post with each of these statuses.
async fn collector(listener: TcpListener, statuses: &[u16]) {
    for status in statuses {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        let length = loop {
            let read = stream.read(&mut piece).await.unwrap();
            text.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&text).to_lowercase();
            if let Some((_, length)) = text.split_once("content-length: ") {
                break length.split('\r').next().unwrap().parse::<usize>().unwrap();
            }
        };
        assert!(text.starts_with(b"POST /v1/traces ") && length > 0);
        let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_what_is_refused_for_now_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = TargetUrl::parse(&format!("http://{}/v1/traces", listener.local_addr().unwrap())).unwrap();
    let options = TraceOptions {
        url: url.clone(),
        ca_file: None,
        sample_ratio: 1.0,
        headers: UpstreamHeaders::default(),
        timeout: Duration::from_secs(30),
        queue: 8,
        service_name: "edge".to_owned(),
    };
    let (tracer, queue) = Tracer::new(1.0, 8);
    let exporter = Exporter::new(queue, Target::new("traces", url, None).unwrap(), options);
    let running = tokio::spawn(exporter.run());
    let taken = async {
        for _ in 0..2 {
            tracer.end(request(&tracer, &[]).span.unwrap());
            tracer.flush(Duration::from_secs(30)).await;
        }
    };
    // The second span is sent twice. A fourth post would get no answer, and with fewer than three the test would hang.
    tokio::join!(collector(listener, &[400, 503, 200]), taken);
    assert_eq!(tracer.waiting(), (0, 8));
    running.abort();
}

#[test]
fn the_document_lists_every_attribute() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tracing.md")).unwrap();
    let listed: Vec<&str> = text.lines().filter(|line| line.starts_with("| `") && line.contains('.')).collect();
    let mut rows: Vec<String> =
        Key::ALL.iter().map(|(key, meaning)| format!("| `{}` | {meaning} |", key.as_str())).collect();
    rows.sort();
    assert_eq!(listed, rows, "docs/tracing.md should list:\n{}\n", rows.join("\n"));
}
