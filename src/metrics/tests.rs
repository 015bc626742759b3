//! The metrics page, and the document that lists its metrics.

use super::families::Family;
use super::*;

/// The rows that `docs/metrics.md` must contain, one for each metric.
fn rows(metrics: &Metrics) -> Vec<String> {
    let mut families = metrics.families.clone();
    families.extend(metrics.process.gather().iter().map(|family| Family {
        name: family.name().to_owned(),
        kind: if family.get_field_type() == prometheus::proto::MetricType::COUNTER { "counter" } else { "gauge" },
        labels: Vec::new(),
        help: family.help().to_owned(),
    }));
    families.sort();
    let labels = |labels: &[String]| labels.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ");
    families
        .iter()
        .map(|one| format!("| `{}` | {} | {} | {} |", one.name, one.kind, labels(&one.labels), one.help))
        .map(|row| row.replace("|  |", "| |"))
        .collect()
}

fn is_row(line: &str) -> bool {
    ["| `chroma_edge_", "| `process_"].iter().any(|start| line.starts_with(start))
}

#[test]
fn the_document_lists_every_metric_with_its_type_labels_and_help_and_no_other() {
    let metrics = METRICS.as_ref().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let listed: Vec<&str> = text.lines().filter(|line| is_row(line)).collect();
    let rows = rows(metrics);
    assert!(rows.len() > 75, "{}", rows.len());
    assert_eq!(listed, rows, "docs/metrics.md should list:\n{}\n", rows.join("\n"));
}

#[test]
fn the_page_has_what_the_process_uses() {
    let text = String::from_utf8(page(&Gauges::default())).unwrap();
    assert!(text.contains("process_cpu_seconds_total "), "{text}");
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(line.split(' ').nth(1).unwrap().parse::<f64>().unwrap() > 0.0, "{line}");
    }
    assert!(text.contains(&format!("chroma_edge_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
}
