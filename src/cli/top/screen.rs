//! Draws one picture of the edge: the most severe first, and each part only as long as there is room.
//!
//! Decides the layout and the styles. The text carries all information; color only repeats it. Pure: it reads no clock,
//! no edge and no environment.

use std::ffi::OsStr;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Sparkline, Table};

use super::picture::{Healing, Instance, Picture};
use super::words::{bar, bytes, millis, rate, span, time_of_day};

/// The most sentences of the verdict to show.
const DETAILS: usize = 4;
/// The most lanes and copies to show.
const ROWS: usize = 6;
/// The width needed for two tables side by side.
const WIDE: u16 = 110;

/// The input of a frame.
pub(super) struct Screen<'a> {
    pub url: &'a str,
    /// `None`: nothing has been received yet.
    pub picture: Option<&'a Picture>,
    pub link: Link<'a>,
    pub paint: Paint,
}

/// Whether the picture is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link<'a> {
    Live,
    /// Nothing has been received for this long.
    Lost {
        silent: Duration,
        why: &'a str,
    },
}

/// Whether to use color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

/// How good or bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Good,
    Warning,
    Bad,
}

impl Paint {
    /// Reads the value of `NO_COLOR`: any value but an empty one disables color.
    pub(super) fn wanted(no_color: Option<&OsStr>) -> Paint {
        if no_color.is_some_and(|value| !value.is_empty()) { Paint::Plain } else { Paint::Coloured }
    }

    fn tone(self, tone: Tone) -> Style {
        let weight = if tone == Tone::Good { Style::new() } else { Style::new().add_modifier(Modifier::BOLD) };
        match (self, tone) {
            (Paint::Plain, _) => weight,
            (Paint::Coloured, Tone::Good) => weight.fg(Color::Green),
            (Paint::Coloured, Tone::Warning) => weight.fg(Color::Yellow),
            (Paint::Coloured, Tone::Bad) => weight.fg(Color::Red),
        }
    }
}

impl Tone {
    /// Returns the tone of a server's state.
    fn of_state(state: &str) -> Tone {
        match state {
            "up" | "catching_up" => Tone::Good,
            "returned" | "draining" | "drained" | "suspect" => Tone::Warning,
            _ => Tone::Bad,
        }
    }

    /// Returns the tone of the verdict's level.
    fn of_level(level: &str) -> Tone {
        match level {
            "safe" => Tone::Good,
            "reduced" => Tone::Warning,
            _ => Tone::Bad,
        }
    }
}

/// Draws a frame.
pub(super) fn render(frame: &mut Frame<'_>, screen: &Screen<'_>) {
    let mut area = frame.area();
    let foot = cut_below(&mut area, 1);
    frame.render_widget(Line::styled("q ends; times are UTC", Modifier::DIM), foot);
    let head = cut(&mut area, 1);
    frame.render_widget(header(screen), head);
    let whole = area;
    match screen.picture {
        Some(picture) => Parts { frame, picture, paint: screen.paint, left: area }.draw(),
        None => frame.render_widget(Paragraph::new(format!("asking {}", screen.url)), area),
    }
    if screen.link != Link::Live {
        frame.buffer_mut().set_style(whole, Style::new().add_modifier(Modifier::DIM));
    }
}

fn header(screen: &Screen<'_>) -> Line<'static> {
    let version = screen.picture.map_or(String::new(), |picture| format!(" {}", picture.version));
    let link = match screen.link {
        Link::Live => Span::raw("live"),
        Link::Lost { silent, why } => {
            let style = screen.paint.tone(Tone::Bad).add_modifier(Modifier::REVERSED);
            Span::styled(format!(" OLD: nothing heard for {}: {why} ", span(silent.as_secs_f64())), style)
        }
    };
    let name = Span::styled(format!("chroma-edge{version}"), Modifier::BOLD);
    Line::from(vec![name, Span::raw(format!("  {}  ", screen.url)), link])
}

/// Cuts this many lines off the top of the remaining area, or fewer if fewer are left.
fn cut(left: &mut Rect, lines: u16) -> Rect {
    let taken = Rect { height: lines.min(left.height), ..*left };
    *left = Rect { y: left.y + taken.height, height: left.height - taken.height, ..*left };
    taken
}

fn cut_below(left: &mut Rect, lines: u16) -> Rect {
    let height = lines.min(left.height);
    left.height -= height;
    Rect { y: left.y + left.height, height, ..*left }
}

fn lines(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Draws a part's title, and returns the area below it.
fn titled(frame: &mut Frame<'_>, title: &str, area: Rect) -> Rect {
    let block = Block::new().borders(Borders::TOP).title(Span::styled(format!(" {title} "), Modifier::BOLD));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// The picture, part by part, from the top.
struct Parts<'a, 'f> {
    frame: &'a mut Frame<'f>,
    picture: &'a Picture,
    paint: Paint,
    left: Rect,
}

impl Parts<'_, '_> {
    fn draw(mut self) {
        self.verdict();
        self.servers();
        self.traffic();
        self.lanes_and_copies();
        self.changes();
    }

    fn verdict(&mut self) {
        let verdict = &self.picture.verdict;
        let style = self.paint.tone(Tone::of_level(&verdict.level)).add_modifier(Modifier::BOLD);
        let level = verdict.level.replace('_', " ").to_uppercase();
        let mut text = vec![Line::styled(format!("{level}: {}", verdict.headline), style)];
        let shown = verdict.details.len().min(DETAILS);
        text.extend(verdict.details[..shown].iter().map(|detail| Line::raw(format!("  {detail}"))));
        if verdict.details.len() > shown {
            text.push(Line::raw(format!("  and {} more", verdict.details.len() - shown)));
        }
        let area = cut(&mut self.left, lines(text.len()));
        self.frame.render_widget(Paragraph::new(text), area);
    }

    fn servers(&mut self) {
        let (servers, paint, now) = (&self.picture.instances, self.paint, self.picture.at);
        let troubles: Vec<Line<'_>> = servers.iter().flat_map(troubles).map(Line::raw).collect();
        let area = cut(&mut self.left, lines(2 + servers.len() + troubles.len()));
        let mut inner = titled(self.frame, "servers", area);
        let names = servers.iter().map(|one| one.name.chars().count()).max().unwrap_or_default();
        let widths = [lines(names.clamp(6, 24)), 7, 12, 7, 8, 7, 7, 9, 10];
        let head = ["SERVER", "ROLE", "STATE", "FOR", "BEHIND", "LAG", "REQ/S", "UNDER WAY", "NOT SERVED"];
        let rows = servers.iter().map(|one| server(one, now, paint));
        let table = Table::new(rows, widths.map(Constraint::Length))
            .header(Row::new(head).style(Modifier::DIM))
            .column_spacing(1);
        let place = cut(&mut inner, lines(1 + servers.len()));
        self.frame.render_widget(table, place);
        self.frame.render_widget(Paragraph::new(troubles), inner);
    }

    fn traffic(&mut self) {
        let picture = self.picture;
        let last = picture.samples.last().cloned().unwrap_or_default();
        let in_quarantine = picture.quarantine.writes + picture.quarantine.reads;
        let numbers = |pairs: Vec<(&str, String)>| -> Line<'static> {
            let spans = pairs.into_iter().flat_map(|(name, value)| {
                [Span::styled(format!("{name} "), Modifier::DIM), Span::raw(format!("{value}   "))]
            });
            Line::from_iter(spans)
        };
        let text = vec![
            numbers(vec![
                ("requests/s", last.requests.to_string()),
                ("p50", millis(last.p50_ms)),
                ("p99", millis(last.p99_ms)),
                ("failed/s", last.failed.to_string()),
                ("under way", picture.requests.under_way.to_string()),
                ("waiting", picture.requests.waiting.to_string()),
            ]),
            numbers(vec![
                ("pending", picture.pending_writes.to_string()),
                ("in doubt", picture.in_doubt.to_string()),
                ("quarantine", in_quarantine.to_string()),
                ("collections", picture.collections.to_string()),
                ("without a second copy", picture.without_second_copy.to_string()),
            ]),
            numbers(vec![
                ("journal", bytes(picture.journal.used_bytes)),
                ("of", bytes(picture.journal.max_bytes)),
                ("in", picture.journal.store.clone()),
            ]),
        ];
        let curve = if self.left.height > 20 { 2 } else { 0 };
        let area = cut(&mut self.left, lines(1 + text.len()) + curve);
        let mut inner = titled(self.frame, "requests", area);
        let place = cut(&mut inner, lines(text.len()));
        self.frame.render_widget(Paragraph::new(text), place);
        let samples = picture.samples.iter().rev().take(usize::from(inner.width)).rev();
        self.frame.render_widget(Sparkline::default().data(samples.map(|one| one.requests)), inner);
    }

    fn lanes_and_copies(&mut self) {
        let (lanes, copies) = (self.picture.lanes.len().clamp(1, ROWS), self.picture.healing.len().clamp(1, ROWS));
        if self.left.width >= WIDE {
            let area = cut(&mut self.left, lines(2 + lanes.max(copies)));
            let [left, right] =
                Layout::horizontal([Constraint::Percentage(42), Constraint::Fill(1)]).spacing(1).areas(area);
            self.lanes(left);
            self.copies(right);
        } else {
            let area = cut(&mut self.left, lines(2 + copies));
            self.copies(area);
            let area = cut(&mut self.left, lines(2 + lanes));
            self.lanes(area);
        }
    }

    fn lanes(&mut self, area: Rect) {
        let inner = titled(self.frame, "collections with most to apply", area);
        if self.picture.lanes.is_empty() {
            return self.frame.render_widget(Line::raw("none: every server has every write"), inner);
        }
        let row = |lane: &super::picture::Lane| {
            Row::new([lane.name.clone(), lane.pending.to_string(), lane.in_doubt.to_string()])
        };
        let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(9)];
        let head = Row::new(["COLLECTION", "PENDING", "IN DOUBT"]).style(Modifier::DIM);
        let rows = self.picture.lanes.iter().take(ROWS).map(row);
        self.frame.render_widget(Table::new(rows, widths).header(head), inner);
    }

    fn copies(&mut self, area: Rect) {
        let title = if self.picture.healing_paused { "healing (paused)" } else { "healing" };
        let inner = titled(self.frame, title, area);
        if self.picture.healing.is_empty() {
            return self.frame.render_widget(Line::raw("none: nothing is being healed"), inner);
        }
        let widths = [
            Constraint::Fill(2),
            Constraint::Fill(2),
            Constraint::Length(17),
            Constraint::Length(9),
            Constraint::Fill(3),
        ];
        let head = Row::new(["COLLECTION", "WHERE", "DONE", "LEFT", "HOW"]).style(Modifier::DIM);
        let rows = self.picture.healing.iter().take(ROWS).map(copy);
        self.frame.render_widget(Table::new(rows, widths).header(head), inner);
    }

    fn changes(&mut self) {
        if self.left.height < 2 {
            return;
        }
        let inner = titled(self.frame, "changes", self.left);
        let line = |one: &super::picture::Change| Line::raw(format!("{}  {}", time_of_day(one.at), one.text));
        let text: Vec<Line<'_>> = match self.picture.changes.as_slice() {
            [] => vec![Line::raw("nothing since the edge started")],
            changes => changes.iter().take(usize::from(inner.height)).map(line).collect(),
        };
        self.frame.render_widget(Paragraph::new(text), inner);
    }
}

fn server(one: &Instance, now: i64, paint: Paint) -> Row<'_> {
    let lag = one.lag_seconds.map_or_else(|| "?".to_owned(), span);
    Row::new([
        Span::raw(one.name.as_str()),
        Span::raw(one.role.as_str()),
        Span::styled(one.state.replace('_', " "), paint.tone(Tone::of_state(&one.state))),
        Span::raw(span((now - one.since) as f64 / 1000.0)),
        Span::raw(one.pending_writes.to_string()),
        Span::raw(lag),
        Span::raw(rate(one.rate)),
        Span::raw(one.in_flight.to_string()),
        Span::raw(one.diverged_collections.to_string()),
    ])
}

/// Returns whose data a foreign server holds, why a server is unsupported, and the last error of one that is not
/// healthy.
fn troubles(one: &Instance) -> Vec<String> {
    let error = one.last_error.as_ref().filter(|_| !one.healthy);
    let all = [one.foreign.as_ref(), one.unsupported.as_ref(), error].into_iter().flatten();
    all.map(|trouble| format!("  {}: {trouble}", one.name)).collect()
}

fn copy(one: &Healing) -> Row<'static> {
    let making = one.state == "healing";
    let done = one.percent.map_or_else(|| "-".to_owned(), |percent| format!("{} {percent:.0} %", bar(percent)));
    let left = one.eta_seconds.map_or_else(|| "-".to_owned(), span);
    let how = if making { format!("{:.0} records/s", one.records_per_second) } else { one.state.replace('_', " ") };
    let how = one.last_error.as_ref().filter(|_| !making).map_or(how, |error| format!("waits: {error}"));
    let name = one.collection_name.as_ref().unwrap_or(&one.collection_id).clone();
    Row::new([name, format!("{} > {}", one.source, one.instance), done, left, how])
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
