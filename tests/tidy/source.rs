//! Reads the repository's Rust files and splits them into tokens. Decides what counts as code and what as test code.
//! Judges nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// One Rust file of the repository.
pub struct File {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
    /// `text` with comments and the contents of literals blanked out, line by line.
    pub code: String,
    /// `code` with the items under `#[cfg(test)]` blanked out as well. Only for files in `src/`.
    pub production: String,
}

pub fn root() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the repository's root"))
}

/// Returns every file below `folder` whose name ends with one of `ends`, as paths from the repository's root, sorted.
pub fn files_below(folder: &str, ends: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), Path::new(folder), ends, &mut found);
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, ends: &[&str], found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "target" || name == "node_modules" || (name.starts_with('.') && name != ".ci") {
            continue;
        }
        let path = folder.join(&name);
        if entry.path().is_dir() {
            walk(root, &path, ends, found);
        } else if ends.iter().any(|end| name.ends_with(end)) {
            found.push(path.to_string_lossy().trim_start_matches("./").to_owned());
        }
    }
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

static RUST: LazyLock<Vec<File>> = LazyLock::new(|| {
    let paths = ["src", "tests", "benches", "testkit"].iter().flat_map(|folder| files_below(folder, &[".rs"]));
    paths
        .map(|path| {
            let text = read(&path);
            let code = blank_literals(&text);
            let production = if path.starts_with("src/") { blank_tests(&code) } else { String::new() };
            File { path, text, code, production }
        })
        .collect()
});

/// Returns every Rust file of the repository: `src/`, `tests/`, `benches/` and `testkit/`.
pub fn rust_files() -> &'static [File] {
    &RUST
}

/// Returns the text with comments, strings and characters replaced by spaces. Line ends stay.
fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'/' | b'"' | b'\'' | b'r' | b'b') {
            at += 1;
            continue;
        }
        let end = literal_end(bytes, at);
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code.into_iter().map(|byte| if byte.is_ascii() { byte } else { b' ' }).collect())
        .expect("ASCII is UTF-8")
}

/// Returns where the comment or literal that begins at `at` ends, or `at` if none begins there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 2);
    }
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if !after_word && (rest[0] == b'r' || rest.starts_with(b"br")) {
        let start = if rest[0] == b'b' { 2 } else { 1 };
        let hashes = rest[start..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(start + hashes) == Some(&b'"') {
            let close: Vec<u8> = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            let inner = start + hashes + 1;
            let length = rest[inner..].windows(close.len()).position(|part| part == close);
            return at + length.map_or(rest.len(), |length| inner + length + close.len());
        }
    }
    match rest[0] {
        b'"' => at + quoted(rest, b'"'),
        // A lifetime has no closing quote right after its first character.
        b'\'' if rest.get(1) == Some(&b'\\') => at + quoted(rest, b'\''),
        b'\'' => {
            let letter = rest[1..].iter().skip(1).take_while(|byte| !byte.is_ascii()).count() + 1;
            if rest.get(1 + letter) == Some(&b'\'') { at + letter + 2 } else { at }
        }
        _ => at,
    }
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Returns the code without the items under `#[cfg(test)]` and similar attributes.
fn blank_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (start, _) in code.match_indices("#[cfg(") {
        let head = &code[start..code[start..].find(']').map_or(code.len(), |end| start + end)];
        let words = || head.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        if !words().any(|word| word == "test") || words().any(|word| word == "not" || word == "any") {
            continue;
        }
        let end = item_end(code.as_bytes(), start + head.len() + 1);
        for byte in &mut bytes[start..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(bytes).expect("only ASCII was replaced")
}

/// Returns the end of the item that begins at `at`: its `;` or its last `}`.
fn item_end(bytes: &[u8], mut at: usize) -> usize {
    let (mut braces, mut others) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' => others += 1,
            b')' | b']' => others -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && others == 0 {
                    return at + 1;
                }
            }
            b';' | b',' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Returns words, `::`, and single characters.
pub fn tokens(code: &str) -> Vec<&str> {
    let (bytes, mut found, mut at) = (code.as_bytes(), Vec::new(), 0);
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    while at < bytes.len() {
        let start = at;
        if word(bytes[at]) {
            while at < bytes.len() && word(bytes[at]) {
                at += 1;
            }
        } else if code[at..].starts_with("::") {
            at += 2;
        } else {
            at += 1;
        }
        let token = &code[start..at];
        if !token.trim().is_empty() {
            found.push(token);
        }
    }
    found
}

#[test]
fn literals_comments_and_tests_are_no_code() {
    let text =
        "fn a() { \"x::y\"; 'z'; r#\"q\"w\"#; } // no::code\n#[cfg(test)]\nmod tests { use b::c; }\nfn d<'a>() {}\n";
    let code = blank_literals(text);
    assert!(!code.contains("x::y") && !code.contains('z') && !code.contains('w') && !code.contains("no::code"));
    assert!(code.contains("<'a>") && code.contains("b::c"));
    assert!(!blank_tests(&code).contains("b::c") && blank_tests(&code).contains("fn d"));
}
