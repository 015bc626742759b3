//! `top`: a live edge's dashboard in a terminal, until `q`.
//!
//! Decides when to draw, which keys count, and the exit code: 0 ended by the operator, 1 the edge could not be reached
//! or the terminal could not be drawn on, 64 a mistake, including output that is not a terminal. [`screen`] decides
//! what is drawn, [`feed`] where it comes from.

mod feed;
mod picture;
mod screen;
mod words;

use std::io::{IsTerminal, stdin, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use self::feed::Feed;
use self::screen::{Paint, Screen};
use super::USAGE;
use super::operator::Edge;

/// The time between two frames if no key is pressed: ages are shown in seconds.
const TICK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(flatten)]
    edge: Edge,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    if !stdout().is_terminal() || !stdin().is_terminal() {
        eprintln!("top draws on a terminal, and this is none; for scripts there is: chroma-edge status --json");
        return ExitCode::from(USAGE);
    }
    if std::env::var_os("TERM").is_some_and(|kind| kind == "dumb") {
        eprintln!("top needs a terminal that can be drawn on, and TERM is dumb; there is also: chroma-edge status");
        return ExitCode::from(USAGE);
    }
    let operator = match asked.edge.operator() {
        Ok(operator) => operator,
        Err(code) => return code,
    };
    let url = operator.url();
    // A missing edge, or a missing token, is better reported in one line than on a screen.
    let feed = match Feed::of(operator) {
        Ok(feed) => feed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let drawn = ratatui::try_init().and_then(|mut terminal| watch(&mut terminal, &url, &feed, &told_to_end()));
    ratatui::restore();
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the terminal cannot be drawn on: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(terminal: &mut DefaultTerminal, url: &str, feed: &Feed, end: &AtomicBool) -> std::io::Result<()> {
    let paint = Paint::wanted(std::env::var_os("NO_COLOR").as_deref());
    let ended = keys();
    while !end.load(Ordering::Relaxed) {
        feed.look(|heard| {
            let screen = Screen { url, picture: heard.picture(), link: heard.link(), paint };
            terminal.draw(|frame| screen::render(frame, &screen)).map(drop)
        })?;
        // Also ends if the key thread is gone, because no key can end it any more.
        if !matches!(ended.recv_timeout(TICK), Err(RecvTimeoutError::Timeout)) {
            break;
        }
    }
    Ok(())
}

/// Signals when a key ends the program. Runs on its own thread: if the terminal disappears without a signal, the read
/// of the next key may never return.
fn keys() -> Receiver<()> {
    let (end, ended) = sync_channel(1);
    #[allow(clippy::disallowed_methods, reason = "one thread: it ends with the process")]
    let _ = std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while let Ok(event) = event::read() {
            if matches!(event, Event::Key(key) if ends(key)) && end.send(()).is_err() {
                break;
            }
        }
    });
    ended
}

fn ends(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => false,
        KeyCode::Char('c') => with_control,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
        _ => false,
    }
}

/// Returns a flag that is set on a signal, so that the terminal is restored in that case, too.
fn told_to_end() -> Arc<AtomicBool> {
    let end = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&end);
    // Without the thread or its runtime, a signal ends the process as usual and leaves the terminal as it is.
    #[allow(clippy::disallowed_methods, reason = "one thread: it ends with the process")]
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if runtime.is_ok_and(|runtime| runtime.block_on(signalled()).is_ok()) {
            told.store(true, Ordering::Relaxed);
        }
    });
    end
}

async fn signalled() -> std::io::Result<()> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_it_and_nothing_else_does() {
        let key = |code, modifiers| ends(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
    }
}
