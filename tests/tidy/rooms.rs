//! Which room may import which, and which rooms may use a library. The tables are the invariants of ARCHITECTURE.md.

use std::collections::BTreeSet;

use crate::imports::Crate;
use crate::none;

/// Each room of `src/`, and the rooms that it may import. Everything else is forbidden. Test code may import anything.
const ROOMS: &[(&str, &[&str])] = &[
    // Pure: no I/O, no clock, no runtime. Tested and simulated without a server.
    ("ids", &[]),
    ("order", &["ids", "proof"]),
    ("chroma", &["ids", "order"]),
    // Who may do what. It is given the time, and never reads a clock.
    ("auth", &["chroma", "clock", "ids", "order"]),
    // The foundation.
    ("clock", &[]),
    ("current", &[]),
    ("proof", &[]),
    ("metrics", &[]),
    ("lasting", &[]),
    ("lease", &["clock"]),
    ("process", &["clock"]),
    // What is durable; one Chroma server. Neither depends on the other, or on what is executed where.
    ("journal", &["clock", "current", "ids", "lasting", "metrics", "order", "proof"]),
    ("instance", &["clock", "current", "ids", "lasting", "lease", "proof"]),
    // Spans, and their export to a collector.
    ("traces", &["clock", "ids", "instance", "lasting", "metrics"]),
    // The coordinator moves the board. It never imports the executor, which carries out the board's effects.
    ("coordinator", &["chroma", "clock", "ids", "instance", "journal", "lease", "metrics", "order"]),
    (
        "executor",
        &[
            "chroma",
            "clock",
            "coordinator",
            "current",
            "ids",
            "instance",
            "journal",
            "lasting",
            "lease",
            "metrics",
            "order",
            "proof",
            "traces",
        ],
    ),
    (
        "rejoin",
        &[
            "chroma",
            "clock",
            "coordinator",
            "current",
            "executor",
            "ids",
            "instance",
            "journal",
            "lasting",
            "order",
            "proof",
        ],
    ),
    ("heal", &["chroma", "clock", "coordinator", "current", "ids", "instance", "journal", "lasting", "order", "proof"]),
    ("audit", &["chroma", "clock", "coordinator", "current", "heal", "ids", "instance", "lasting", "order"]),
    ("events", &["clock", "ids", "instance", "journal", "lasting", "metrics", "order"]),
    // The rooms that clients and operators reach. None sends a write to an instance.
    // The HTTP that proxy, pages and configuration share.
    ("web", &["auth", "chroma", "clock", "ids", "instance", "journal", "traces"]),
    // A connection before its requests are parsed.
    ("wire", &["clock", "lasting"]),
    (
        "proxy",
        &[
            "auth",
            "chroma",
            "clock",
            "coordinator",
            "current",
            "ids",
            "instance",
            "journal",
            "lasting",
            "metrics",
            "order",
            "proof",
            "traces",
            "web",
            "wire",
        ],
    ),
    (
        "admin",
        &[
            "audit",
            "auth",
            "chroma",
            "clock",
            "coordinator",
            "current",
            "events",
            "heal",
            "ids",
            "instance",
            "journal",
            "metrics",
            "order",
            "process",
            "proxy",
            "traces",
            "web",
        ],
    ),
    // `validate` is a client: it shares no code with the edge except the clock.
    ("validate", &["clock"]),
    // Holds the options of the rooms that it configures. None of them imports it.
    (
        "config",
        &[
            "audit", "auth", "chroma", "events", "heal", "ids", "instance", "journal", "order", "proxy", "traces",
            "web", "wire",
        ],
    ),
    ("cli", &["auth", "clock", "config", "instance", "journal", "order", "proof", "proxy", "validate", "web"]),
    // The composition root. No room imports it.
    (
        "server",
        &[
            "admin",
            "audit",
            "clock",
            "config",
            "coordinator",
            "current",
            "events",
            "executor",
            "heal",
            "ids",
            "instance",
            "journal",
            "lasting",
            "lease",
            "metrics",
            "order",
            "process",
            "proof",
            "proxy",
            "rejoin",
            "traces",
            "web",
            "wire",
        ],
    ),
];

/// Imports that break the table today: the file, and the room it imports. Shorten the list; never add to it.
const DEBTS: &[(&str, &str)] = &[];

/// A library, and the only rooms that may use it.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("rusqlite", &["journal"]),
    ("tokio_postgres", &["journal"]),
    ("tokio_postgres_rustls", &["journal"]),
    ("deadpool", &["journal"]),
    ("deadpool_postgres", &["journal"]),
    ("refinery", &["journal"]),
    ("pingora", &["config", "instance", "proxy", "server", "wire"]),
    ("pingora_limits", &["proxy"]),
    ("tokio_rustls", &["wire"]),
    ("prometheus", &["metrics"]),
    ("clap", &["cli"]),
    ("ratatui", &["cli"]),
    ("tracing_subscriber", &["cli", "config"]),
    ("saphyr_parser", &["config"]),
    ("yaml_serde", &["config"]),
    ("ureq", &["validate"]),
    ("opentelemetry_proto", &["traces"]),
    ("prost", &["traces"]),
    ("subtle", &["auth"]),
    ("jsonwebtoken", &["auth"]),
    ("getrandom", &["cli"]),
];

/// Rooms without I/O, clock, runtime or randomness, and the paths that would reveal a violation.
const PURE: &[&str] = &["ids", "order", "chroma", "auth"];
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["futures"],
    &["tracing"],
    &["rustix"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "env"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["Instant", "now"],
    &["SystemTime", "now"],
];

pub fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// Returns every import between rooms: the file, the room it reaches, and the path as written.
fn between_rooms() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for import in Crate::of_source().imports() {
        let written = import.path.first().filter(|first| *first == "crate").and(import.path.get(1));
        let reached = import.to.as_deref().map(room).filter(|to| *to != "lib");
        for to in written.map(String::as_str).into_iter().chain(reached) {
            if to != room(&import.from) && room(&import.from) != "lib" {
                found.push((import.from.clone(), to.to_owned(), import.path.join("::")));
            }
        }
    }
    found
}

#[test]
fn a_room_imports_only_what_its_line_allows() {
    let imports = between_rooms();
    assert!(imports.len() > 100, "the imports were not read: {}", imports.len());
    let mut found = Vec::new();
    for (file, to, path) in &imports {
        let allowed = ROOMS.iter().find(|(name, _)| *name == room(file)).map(|(_, allowed)| allowed);
        let owed = DEBTS.iter().any(|(from, debt)| from == file && debt == to);
        if !owed && !allowed.is_some_and(|allowed| allowed.contains(&to.as_str())) {
            found.push(format!("{file}: `{}` may not import `{to}` ({path})", room(file)));
        }
    }
    for (from, to) in DEBTS {
        if !imports.iter().any(|(file, room, _)| file == from && room == to) {
            found.push(format!("{from} imports `{to}` no more: remove it from DEBTS"));
        }
    }
    none("an import that ROOMS does not allow", found);
}

#[test]
fn the_table_names_every_room_and_no_other() {
    let files = Crate::of_source().production_files();
    let there: BTreeSet<&str> = files.iter().map(|path| room(path)).filter(|name| *name != "lib").collect();
    let named: BTreeSet<&str> = ROOMS.iter().flat_map(|(name, allowed)| [&[*name], *allowed].concat()).collect();
    none("ROOMS and src/ differ", there.symmetric_difference(&named).map(|room| (*room).to_owned()).collect());
}

#[test]
fn a_library_is_known_only_where_its_line_says() {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for import in Crate::of_source().imports().into_iter().filter(|import| import.to.is_none()) {
        let Some((library, rooms)) =
            LIBRARIES.iter().find(|(name, _)| import.path.first().is_some_and(|first| first == name))
        else {
            continue;
        };
        seen.insert(*library);
        if !rooms.contains(&room(&import.from)) {
            found.push(format!("{}: `{}` may not know `{library}`", import.from, room(&import.from)));
        }
    }
    let unused = LIBRARIES.iter().filter(|(name, _)| !seen.contains(name));
    found.extend(unused.map(|(name, _)| format!("nothing uses `{name}`: remove its line")));
    none("a library where it does not belong", found);
}

#[test]
fn pure_rooms_have_no_io_clock_runtime_or_chance() {
    let mut found = Vec::new();
    for import in Crate::of_source().imports() {
        let path: Vec<&str> = import.path.iter().map(String::as_str).collect();
        let impure =
            IMPURE.iter().any(|start| path.starts_with(start)) || path.iter().any(|part| part.contains("rand"));
        if PURE.contains(&room(&import.from)) && impure {
            found.push(format!("{}: {}", import.from, path.join("::")));
        }
    }
    none("a pure room does something", found);
}
