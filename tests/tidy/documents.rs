//! Every path, function, test, metric, configuration key and link that a document names exists. Reads text in
//! `backticks`; does not judge prose.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::none;
use crate::source::{File, files_below, read, rust_files};

/// The words of other software that documents may put in backticks.
const FOREIGN: &[&str] = &[
    "Accel",
    "Api",
    "Buffering",
    "Dockerfile",
    "EventSource",
    "LISTEN",
    "MakeTlsConnect",
    "NOTIFY",
    "OWNER",
    "PG",
    "BREACH",
    "ef_construction",
    "nin",
    "resize_factor",
    "spann",
    "sync_threshold",
    "max_connections",
    "PGPASSWORD",
    "Proxy",
    "REASON",
    "RULE_kept",
    "SO_LINGER",
    "VACUUM",
    "VECTOR_DB",
    "df",
    "docker",
    "git",
    "n_live_tup",
    "pg_dump",
    "pgpass",
    "presumed",
    "proto",
    "ptrace",
    "synchronous_mode",
    "systemctl",
];

/// Files that exist only on a user's machine or after a run.
const ELSEWHERE: &[&str] = &[".cache/", "target/chaos/STORE-SEED-TIME/"];

struct Document {
    path: String,
    text: String,
}

struct Repository {
    files: Vec<String>,
    rust: Vec<Definitions>,
    /// Every word of the code, including its strings, and of the files beside it.
    words: HashSet<String>,
}

/// What one Rust file defines.
struct Definitions {
    path: String,
    /// Functions, types, constants and inline modules.
    items: HashSet<String>,
    /// Types that it defines or has an `impl` of.
    types: HashSet<String>,
    /// The variants of each enum, and the constants and types of each `impl` and trait.
    members: HashMap<String, HashSet<String>>,
    words: HashSet<String>,
}

impl Repository {
    fn read() -> Self {
        let mut files = files_below(".", &[""]);
        files.retain(|path| !path.starts_with("data/"));
        let rust = rust_files();
        let mut words = HashSet::new();
        for file in rust.iter().filter(|file| !file.path.starts_with("tests/tidy/")) {
            words.extend(words_of(&file.text).map(str::to_owned));
        }
        for path in files.iter().filter(|path| stands_beside_the_code(path)) {
            words.extend(words_of(&read(path)).map(str::to_owned));
        }
        Repository { files, rust: rust.iter().map(Definitions::of).collect(), words }
    }

    /// Returns whether a file or folder of the repository is, or ends with, this path.
    fn has_path(&self, path: &str) -> bool {
        let path = path.trim_start_matches("./");
        let inner = format!("/{path}");
        if path.ends_with('/') {
            return self.files.iter().any(|file| file.starts_with(path) || file.contains(&inner));
        }
        self.files.iter().any(|file| file == path || file.ends_with(&inner))
    }

    /// Returns whether `a::b::c` is defined: the modules or the type before the last segment, and the last segment in
    /// them.
    fn has_item(&self, item: &str) -> bool {
        let segments: Vec<&str> = item.split("::").filter(|segment| *segment != "crate").collect();
        let Some((last, before)) = segments.split_last() else { return true };
        let is_type = |segment: &&&str| segment.starts_with(char::is_uppercase);
        let holder = before.iter().rev().find(is_type);
        self.rust.iter().any(|file| {
            let there = before.iter().filter(|segment| !is_type(segment)).all(|module| file.has_module(module));
            let held = holder.is_none_or(|holder| file.types.contains(*holder));
            let named = match last.strip_suffix('*') {
                Some(start) => start.is_empty() || file.items.iter().any(|item| item.starts_with(start)),
                None if last.starts_with(char::is_uppercase) => match holder {
                    Some(holder) => file.members.get(*holder).is_some_and(|members| members.contains(*last)),
                    None => file.words.contains(*last),
                },
                None => file.items.contains(*last) || file.has_module(last),
            };
            there && held && named
        })
    }
}

impl Definitions {
    fn of(file: &File) -> Self {
        let (mut items, mut types, mut words) = (HashSet::new(), HashSet::new(), HashSet::new());
        let (mut previous, mut header) = ("", false);
        for line in file.code.lines() {
            for word in words_of(line) {
                if matches!(previous, "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "mod") {
                    items.insert(word.to_owned());
                }
                header |= matches!(word, "impl" | "struct" | "enum" | "trait");
                if header && word.starts_with(char::is_uppercase) {
                    types.insert(word.to_owned());
                }
                words.insert(word.to_owned());
                previous = word;
            }
            header = header && !line.contains(['{', ';']);
        }
        Definitions { path: file.path.clone(), items, types, members: members(&file.code), words }
    }

    fn has_module(&self, module: &str) -> bool {
        self.path.split('/').any(|part| part.trim_end_matches(".rs") == module) || self.items.contains(module)
    }
}

/// Returns what a document may name after a type: `Type::Variant`, `Type::CONSTANT`, `Type::Associated`.
fn members(code: &str) -> HashMap<String, HashSet<String>> {
    let mut found: HashMap<String, HashSet<String>> = HashMap::new();
    let lines: Vec<&str> = code.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let words: Vec<&str> = words_of(line).collect();
        let Some(start) = words.iter().position(|word| matches!(*word, "enum" | "impl" | "trait")) else { continue };
        let indent = line.len() - line.trim_start().len();
        let is_deeper = |line: &&&str| line.trim().is_empty() || line.len() - line.trim_start().len() > indent;
        let body = || lines[number + 1..].iter().take_while(is_deeper);
        let of: Vec<&str> = words[start + 1..].iter().copied().filter(|w| w.starts_with(char::is_uppercase)).collect();
        let members: HashSet<String> = if words[start] == "enum" {
            // rustfmt puts each variant on its own line, one level deeper than its enum.
            let own = body().filter(|line| line.len() - line.trim_start().len() == indent + 4);
            let first = own.filter_map(|line| words_of(line).next()).filter(|w| w.starts_with(char::is_uppercase));
            first.map(str::to_owned).collect()
        } else {
            let named = |line: &&str| {
                let words: Vec<&str> = words_of(line).collect();
                let at = words.iter().position(|word| matches!(*word, "const" | "type"))?;
                words.get(at + 1).map(|word| (*word).to_owned())
            };
            body().filter_map(named).collect()
        };
        // `enum Type`, `impl Type`, `impl Trait for Type`, including generics: each of them gets the members.
        let of = if words[start] == "enum" { &of[..1.min(of.len())] } else { &of[..] };
        for name in of {
            found.entry((*name).to_owned()).or_default().extend(members.iter().cloned());
        }
    }
    found
}

#[test]
fn a_variant_is_one_of_its_own_enum() {
    let code = "pub enum Effect {\n    Answer(Reply),\n    Perform {\n        Action: u8,\n    },\n}\nimpl Effect {\n    \
                pub const ALL: u8 = 1;\n}\nenum Action {\n    Send,\n}\n";
    let members = members(code);
    let of = |name: &str| members[name].iter().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(of("Effect"), BTreeSet::from(["ALL", "Answer", "Perform"]));
    assert_eq!(of("Action"), BTreeSet::from(["Send"]));
}

fn stands_beside_the_code(path: &str) -> bool {
    let folders = ["conf/", "scripts/", "clients/", "migrations/", "tests/clients/", ".ci/", "deploy/"];
    let single = ["Makefile", "Cargo.toml", "clippy.toml", "deny.toml"];
    folders.iter().any(|folder| path.starts_with(folder)) && !path.ends_with(".md") || single.contains(&path)
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

fn documents() -> Vec<Document> {
    let mut paths = files_below("docs", &[".md"]);
    paths.extend(["ARCHITECTURE.md".to_owned(), "README.md".to_owned()]);
    paths.into_iter().map(|path| Document { text: read(&path), path }).collect()
}

impl Document {
    /// Returns the content of its fenced blocks.
    fn fenced(&self) -> String {
        self.text.split("```").skip(1).step_by(2).collect::<Vec<_>>().join("\n")
    }

    /// Returns the text outside fenced blocks.
    fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect::<Vec<_>>().join("\n")
    }

    /// Returns the text in backticks.
    fn spans(&self) -> Vec<String> {
        self.prose().split("\n\n").flat_map(|part| part.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
    }
}

/// Returns the parts of a span that could be a path or an item.
fn parts(span: &str) -> impl Iterator<Item = &str> + Clone {
    span.split(|letter: char| letter.is_whitespace() || "(){}[]<>,;=\"'|".contains(letter))
        .filter(|part| !part.is_empty())
}

fn every(found: &mut Vec<String>, mut missing: impl FnMut(&Document, &str) -> Option<String>) {
    for document in documents() {
        for span in document.spans() {
            found.extend(missing(&document, &span).map(|what| format!("{}: {what} (`{span}`)", document.path)));
        }
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    let repository = Repository::read();
    let ends = [".rs", ".md", ".py", ".sh", ".toml", ".yaml", ".sql", ".mjs", ".js", ".ts"];
    let mut found = Vec::new();
    every(&mut found, |_, span| {
        let mut paths = parts(span).map(|part| part.trim_end_matches(['.', ':'])).filter(|part| {
            let plain = part.chars().all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
            let source = ends.iter().any(|end| part.ends_with(end)) && part.len() > 4;
            let folder = part.ends_with('/') && part.len() > 1;
            plain && (source || folder) && !part.starts_with('/')
        });
        paths.find(|path| !repository.has_path(path) && !ELSEWHERE.contains(path)).map(|path| format!("no file {path}"))
    });
    none("a document names a path that does not exist", found);
}

#[test]
fn every_function_and_test_that_a_document_names_exists() {
    let repository = Repository::read();
    let mut found = Vec::new();
    every(&mut found, |document, span| {
        let mut items = parts(span).filter(|part| part.contains("::")).map(|part| part.trim_matches([':', '.', '&']));
        let foreign = |item: &str| ["std", "tokio", "pingora_core"].iter().any(|library| item.starts_with(library));
        let missing = items.find(|item| !foreign(item) && !repository.has_item(item));
        let test = span.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
        // Elsewhere a name of four words may be a key, a reason or a label.
        let least = if document.path == "docs/promises.md" || document.path == "docs/rules.md" { 3 } else { 4 };
        let long = test && span.matches('_').count() >= least && !span.starts_with("chroma_edge_");
        let bare = long && !repository.rust.iter().any(|file| file.items.contains(span));
        missing.map(|item| format!("no item {item}")).or_else(|| bare.then(|| format!("no test {span}")))
    });
    none("a document names an item that does not exist", found);
}

#[test]
fn every_word_in_backticks_is_a_word_of_the_code() {
    let repository = Repository::read();
    let metrics = crate::deploy::metrics();
    let mut found = Vec::new();
    every(&mut found, |document, span| {
        // A recipe's own program is code, too: a test runs it.
        let recipe = if document.path.starts_with("docs/recipes/") { document.fenced() } else { String::new() };
        let known = |word: &str| {
            words_of(&recipe).any(|used| used == word)
                || metrics.contains_key(word)
                || repository.words.contains(word)
                || FOREIGN.contains(&word)
                || repository.files.iter().any(|path| path.split(['/', '.']).any(|part| part == word))
        };
        let mut words = words_of(span).filter(|word| !word.starts_with(|first: char| first.is_ascii_digit()));
        words.find(|word| !known(word)).map(|word| format!("nothing is called {word}"))
    });
    none("a document names what the code does not", found);
}

/// Returns every `"word"` that follows one of `starts` in a text.
fn quoted_after<'a>(text: &'a str, starts: &[&str]) -> Vec<&'a str> {
    let after = starts.iter().flat_map(|start| text.split(start).skip(1));
    after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

#[test]
fn every_reason_and_page_is_in_a_document() {
    let text: String = documents().into_iter().map(|document| document.text).collect();
    let failures = read("src/proxy/failure.rs");
    let reasons = failures.split("fn reason").nth(1).and_then(|rest| rest.split("fn ").next()).unwrap_or_default();
    let pages = read("src/admin/table.rs");
    let pages = quoted_after(&pages, &["    page("]);
    let reasons = quoted_after(reasons, &["=>"]);
    assert!(reasons.len() > 15 && pages.len() > 40, "{reasons:?} {pages:?}");
    let reasons = reasons.into_iter().map(|reason| format!("`{reason}`"));
    let named = reasons.chain(pages.into_iter().map(|page| format!("{page}`")));
    none("no document names it", named.filter(|name| !text.contains(name)).collect());
}

/// Returns the keys of a configuration file with dots, including `instances[].name`.
pub fn keys(yaml: &str) -> BTreeSet<String> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut found = BTreeSet::new();
    for line in yaml.lines() {
        // A key that is shown commented out counts.
        let line = if line.trim_start().starts_with("# ") { line.replacen("# ", "", 1) } else { line.to_owned() };
        let inner = line.trim_start().trim_start_matches("- ").trim_start_matches("{ ");
        let Some((key, _)) = inner.split_once(':') else { continue };
        if !key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        path.retain(|(depth, _)| *depth < indent);
        path.push((indent, key.to_owned()));
        let whole: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
        found.insert(whole.join(".").trim_start_matches("edge.").to_owned());
    }
    found
}

#[test]
fn every_configuration_key_that_a_document_names_exists() {
    let known = keys(&read("conf/production.yaml"));
    let sections: BTreeSet<&str> =
        known.iter().filter_map(|key| key.split_once('.')).map(|(section, _)| section).collect();
    assert!(known.contains("limits.body_bytes") && known.len() > 40, "{known:?}");
    let mut found = Vec::new();
    every(&mut found, |document, span| {
        let plain = |part: &&str| part.chars().all(|letter| letter.is_ascii_lowercase() || "._".contains(letter));
        let mut dotted = parts(span).map(|part| part.trim_end_matches(':')).filter(plain).filter(|part| {
            let file = [".rs", ".db", ".js", ".jsonl"].iter().any(|end| part.ends_with(end));
            let field = document.path == "docs/operations.md" && matches!(*part, "journal.held_by" | "journal.state");
            !file && !field && part.split_once('.').is_some_and(|(section, _)| sections.contains(section))
        });
        dotted.find(|key| !known.contains(*key)).map(|key| format!("no key {key}"))
    });
    none("a document names a key that conf/production.yaml does not show", found);
}

/// Returns the anchor of a heading: lower case, hyphens for spaces, no punctuation.
pub fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = plain.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    let others = files_below("clients", &[".md"]).into_iter().chain(["CHANGELOG.md".to_owned()]);
    let others = others.map(|path| Document { text: read(&path), path });
    for document in documents().into_iter().chain(others) {
        let folder = document.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in document.prose().split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
            for part in file.split('/') {
                match part {
                    ".." => drop(path.pop()),
                    "." | "" => {}
                    part => path.push(part),
                }
            }
            let target = if file.is_empty() { document.path.clone() } else { path.join("/") };
            let full = crate::source::root().join(&target);
            let text = std::fs::read_to_string(&full).unwrap_or_default();
            let there = heading.is_empty() || text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
            if !full.exists() || !there {
                found.push(format!("{}: {link}", document.path));
            }
        }
    }
    none("a link leads nowhere", found);
}

#[test]
fn every_make_target_that_a_document_names_exists() {
    let makefile = read("Makefile");
    let mut found = Vec::new();
    for document in documents() {
        for named in document.text.split("make ").skip(1) {
            let target: String =
                named.chars().take_while(|letter| letter.is_ascii_lowercase() || "-".contains(*letter)).collect();
            let before =
                document.text[..named.as_ptr() as usize - document.text.as_ptr() as usize].trim_end_matches("make ");
            let shown = before.ends_with('`') || before.ends_with("```\n") || before.ends_with("\nmake ");
            let shown = shown || before.ends_with("```sh\n");
            let target = target.trim_end_matches('-');
            if shown
                && !target.is_empty()
                && !makefile
                    .lines()
                    .any(|line| line.starts_with(&format!("{target}:")) || line.starts_with(&format!("{target}-%:")))
            {
                found.push(format!("{}: make {target}", document.path));
            }
        }
    }
    none("a document names a target that the Makefile lacks", found);
}

#[test]
fn the_architecture_names_every_room_on_two_pages() {
    let text = read("ARCHITECTURE.md");
    let rooms: BTreeSet<String> =
        files_below("src", &[".rs"]).iter().map(|path| crate::rooms::room(path).to_owned()).collect();
    let named = |room: &str| text.contains(&format!("`{room}/`")) || text.contains(&format!("`{room}.rs`"));
    let mut found: Vec<String> =
        rooms.iter().filter(|room| !matches!(room.as_str(), "lib" | "main") && !named(room)).cloned().collect();
    let words = text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    if words > 1_300 {
        found.push(format!("{words} words: two pages are at most 1300"));
    }
    none("ARCHITECTURE.md does not show the rooms as they are", found);
}
