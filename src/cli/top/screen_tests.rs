//! The text on the screen for pictures of an edge that is healthy, in trouble, or away, in terminals of any size.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use serde_json::json;

use super::*;

fn picture() -> Picture {
    let instance = |name: &str, role: &str| {
        json!({ "name": name, "role": role, "state": "up", "healthy": true, "since": 0, "pending_writes": 0,
            "lag_seconds": 0.0, "in_flight": 1, "diverged_collections": 0, "last_error": "an old one" })
    };
    let sample = |requests: u64| json!({ "requests": requests, "failed": 0, "p50_ms": 1.25, "p99_ms": 40.0 });
    let said = json!({
        "at": 90_000, "version": "0.1.0",
        "verdict": { "level": "safe", "headline": "All data is safe", "details": [] },
        "instances": [instance("primary", "primary"), instance("replica", "replica")],
        "pending_writes": 0, "in_doubt": 0, "collections": 3, "without_second_copy": 0,
        "journal": { "store": "sqlite", "used_bytes": 1_500_000, "max_bytes": 4_000_000_000_u64 },
        "requests": { "under_way": 2, "waiting": 0 },
        "samples": (1..200).map(sample).collect::<Vec<_>>(),
    });
    serde_json::from_value(said).unwrap()
}

fn in_trouble() -> Picture {
    let mut picture = picture();
    picture.verdict.level = "at_risk".to_owned();
    picture.verdict.headline = "Serving, but some data has one copy only".to_owned();
    picture.verdict.details = (0..6).map(|number| format!("Trouble number {number}.")).collect();
    let replica = &mut picture.instances[1];
    (replica.state, replica.healthy, replica.since) = ("down".to_owned(), false, 60_000);
    (replica.pending_writes, replica.lag_seconds) = (41, Some(29.6));
    replica.last_error = Some("the connection was refused".to_owned());
    (picture.pending_writes, picture.in_doubt) = (41, 1);
    let more = json!({
        "lanes": [{ "name": "busy", "pending": 40, "in_doubt": 1 }],
        "healing": [
            { "collection_name": "big", "source": "primary", "instance": "replica", "state": "healing", "percent": 40.0,
              "records_per_second": 1200.4, "eta_seconds": 180.0 },
            { "collection_id": "5c1f", "source": "primary", "instance": "replica", "state": "waiting", "last_error": "it was away" },
        ],
        "changes": [{ "at": 60_000, "text": "replica: down (was up)" }],
    });
    let more: Picture = serde_json::from_value(more).unwrap();
    Picture { lanes: more.lanes, healing: more.healing, changes: more.changes, ..picture }
}

fn drawn(screen: &Screen<'_>, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| render(frame, screen)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> Vec<String> {
    let line = |row: u16| (0..buffer.area.width).map(|column| buffer[(column, row)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|row| line(row).trim_end().to_owned()).collect()
}

fn screen(picture: &Picture) -> Screen<'_> {
    Screen { url: "http://edge:8000", picture: Some(picture), link: Link::Live, paint: Paint::Coloured }
}

fn shown(picture: &Picture, width: u16, height: u16) -> Vec<String> {
    text(&drawn(&screen(picture), width, height))
}

#[track_caller]
fn line<'a>(lines: &'a [String], with: &str) -> &'a str {
    lines.iter().find(|line| line.contains(with)).unwrap_or_else(|| panic!("no {with}:\n{}", lines.join("\n")))
}

#[test]
fn an_edge_that_is_well_is_shown_in_a_small_terminal() {
    let lines = shown(&picture(), 80, 24);
    assert_eq!(lines[0], "chroma-edge 0.1.0  http://edge:8000  live");
    assert_eq!(lines[1], "SAFE: All data is safe");
    let replica: Vec<&str> = line(&lines, "replica").split_whitespace().collect();
    assert_eq!(replica, ["replica", "replica", "up", "90", "s", "0", "0", "s", "-", "1", "0"]);
    assert!(line(&lines, "requests/s").starts_with("requests/s 199   p50 1.2 ms   p99 40 ms"), "{lines:#?}");
    assert!(line(&lines, "journal").starts_with("journal 1.5 MB   of 4.0 GB   in sqlite"));
    line(&lines, "none: nothing is being healed");
    line(&lines, "none: every server has every write");
    line(&lines, "nothing since the edge started");
    assert!(!lines.join("").contains("an old one"), "the last error of a server that is used is no trouble");
    assert!(lines[23].starts_with("q ends"), "{lines:#?}");
}

#[test]
fn an_edge_in_trouble_says_what_and_where() {
    for (width, height) in [(80, 40), (160, 40)] {
        let lines = shown(&in_trouble(), width, height);
        assert_eq!(lines[1], "AT RISK: Serving, but some data has one copy only");
        assert_eq!((lines[2].as_str(), lines[6].as_str()), ("  Trouble number 0.", "  and 2 more"));
        let replica: Vec<&str> = line(&lines, "replica ").split_whitespace().collect();
        assert_eq!(replica[..8], ["replica", "replica", "down", "30", "s", "41", "30", "s"]);
        line(&lines, "  replica: the connection was refused");
        line(&lines, "pending 41   in doubt 1");
        assert!(line(&lines, "busy").split_whitespace().take(3).eq(["busy", "40", "1"]), "{lines:#?}");
        let big = line(&lines, "[####......] 40 %");
        assert!(big.contains("big") && big.contains("3 min") && big.contains("1200"), "{big}");
        assert!(line(&lines, "5c1f").contains("waits"), "{lines:#?}");
        assert!(line(&lines, "00:01:00").ends_with("replica: down (was up)"), "{lines:#?}");
    }
}

#[test]
fn what_is_old_says_so_in_the_first_line_and_stays() {
    let picture = picture();
    let link = Link::Lost { silent: Duration::from_secs(12), why: "the connection was refused" };
    let buffer = drawn(&Screen { link, ..screen(&picture) }, 120, 30);
    let lines = text(&buffer);
    assert!(lines[0].contains("OLD: nothing heard for 12 s: the connection was refused"), "{}", lines[0]);
    assert_eq!(lines[1], "SAFE: All data is safe");
    assert!(buffer[(0, 1)].modifier.contains(Modifier::DIM) && !buffer[(0, 0)].modifier.contains(Modifier::DIM));
    let waiting = text(&drawn(&Screen { picture: None, ..screen(&picture) }, 60, 5));
    assert_eq!(waiting[1], "asking http://edge:8000");
}

#[test]
fn without_colour_there_is_none_and_the_words_are_the_same() {
    let picture = in_trouble();
    let coloured = drawn(&screen(&picture), 100, 40);
    let plain = drawn(&Screen { paint: Paint::Plain, ..screen(&picture) }, 100, 40);
    assert_eq!(text(&coloured), text(&plain));
    let has_colour =
        |buffer: &Buffer| buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
    assert!(has_colour(&coloured) && !has_colour(&plain));
    let of = |value: Option<&str>| Paint::wanted(value.map(OsStr::new));
    assert_eq!([of(None), of(Some("")), of(Some("1"))], [Paint::Coloured, Paint::Coloured, Paint::Plain]);
}

#[test]
fn any_size_and_any_name_can_be_drawn() {
    let mut picture = in_trouble();
    let name = "\u{1b}[2J\u{7}漢字🌍".repeat(30);
    picture.instances[0].name.clone_from(&name);
    picture.lanes = vec![super::super::picture::Lane { name, pending: u64::MAX, in_doubt: u64::MAX }; 50];
    for (width, height) in (0..16).flat_map(|width| (0..12).map(move |height| (15 * width, 5 * height))) {
        let lines = shown(&picture, width, height);
        assert!(!lines.join("").contains(char::is_control), "{width}x{height}");
    }
    assert_eq!(
        shown(&picture, 100, 3)[1],
        "AT RISK: Serving, but some data has one copy only",
        "the gravest is left last"
    );
}
