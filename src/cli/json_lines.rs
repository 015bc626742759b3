//! Log lines as JSON: one object per line, with `timestamp`, `level`, `target`, `message` and the event's own fields.
//!
//! Decides the layout. `shown.rs` decides how much of a value is shown.

use std::fmt::{self, Debug};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::shown;

/// The formatter of these lines.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut now = String::new();
        SystemTime.format_time(&mut Writer::new(&mut now))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let target = fields.target.unwrap_or_else(|| event.metadata().target().to_owned());
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), json!(now));
        line.insert("level".to_owned(), json!(event.metadata().level().as_str()));
        line.insert("target".to_owned(), json!(target));
        // If an event's own field has one of these names, it is dropped.
        for (name, value) in fields.own {
            line.entry(name).or_insert(value);
        }
        writeln!(to, "{}", Value::Object(line))
    }
}

#[derive(Default)]
struct Fields {
    own: Map<String, Value>,
    /// The target of a line that came through the `log` crate.
    target: Option<String>,
}

impl Fields {
    fn keep(&mut self, field: &Field, value: Value) {
        match field.name() {
            "log.target" => self.target = value.as_str().map(str::to_owned),
            name if name.starts_with("log.") => {}
            name => drop(self.own.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, json!(shown::text(format_args!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, json!(shown::text(format_args!("{value}"))));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_one_object_with_the_values_types_and_no_more_of_a_value_than_a_text_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().event_format(JsonLines).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let (long, nothing) = ("ä".repeat(33_000), None::<&str>);
            tracing::warn!(count = 3, share = 0.5, yes = true, nothing, text = "a\nb\u{1b}", level = "mine", "said");
            tracing::info!(%long, "long");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let parsed: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len(), 2, "{written}");
        let first = &parsed[0];
        assert_eq!((&first["message"], &first["level"], &first["count"]), (&json!("said"), &json!("WARN"), &json!(3)));
        assert_eq!(
            (&first["share"], &first["yes"], &first["text"]),
            (&json!(0.5), &json!(true), &json!("a\nb\\u{1b}"))
        );
        assert!(first.get("nothing").is_none() && first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
        let long = parsed[1]["long"].as_str().unwrap();
        assert!(long.len() < 1100 && long.ends_with("... (66000 bytes)"), "{}", long.len());
    }
}
