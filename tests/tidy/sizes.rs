//! Sizes, and the first line of each file. What exceeds a limit today is listed and may only shrink.

use crate::none;
use crate::source::{File, rust_files, tokens};

const LINES_OF_A_FILE: usize = 500;
const LINES_OF_A_FUNCTION: usize = 70;

/// What exceeds the limit today: the file, the function (empty: the file itself), its lines. Shorten the list; never
/// add to it.
const OVER: &[(&str, &str, usize)] = &[];

/// Returns every function with a body, and its lines from `fn` to the closing brace.
fn functions(file: &File) -> Vec<(String, usize)> {
    let bytes = file.code.as_bytes();
    let mut found = Vec::new();
    for (start, _) in file.code.match_indices("fn ") {
        if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'_') {
            continue;
        }
        let Some(name) = tokens(file.code[start + 3..].lines().next().unwrap_or_default()).first().copied() else {
            continue;
        };
        let (mut round, mut braces) = (0_usize, 0_usize);
        for (at, byte) in bytes.iter().enumerate().skip(start) {
            match byte {
                b'(' | b'[' => round += 1,
                b')' | b']' => round = round.saturating_sub(1),
                b';' if round == 0 && braces == 0 => break,
                b'{' => braces += 1,
                b'}' => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 {
                        let lines = file.code[start..=at].lines().count();
                        found.push((name.to_owned(), lines));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Adds what exceeds `limit`, except what `OVER` tolerates.
fn over(path: &str, name: &str, lines: usize, limit: usize, found: &mut Vec<String>) {
    let tolerated = OVER.iter().find(|(file, function, _)| *file == path && *function == name);
    match tolerated {
        Some((.., most)) if lines > *most => {
            found.push(format!("{path} {name}: {lines} lines, {most} when it was listed"))
        }
        None if lines > limit => found.push(format!("{path} {name}: {lines} lines, at most {limit}")),
        _ => {}
    }
}

#[test]
fn files_and_functions_stay_within_their_limits() {
    let files = rust_files();
    let mut found = Vec::new();
    for file in files {
        over(&file.path, "", file.text.lines().count(), LINES_OF_A_FILE, &mut found);
        for (name, lines) in functions(file) {
            over(&file.path, &name, lines, LINES_OF_A_FUNCTION, &mut found);
        }
    }
    for (path, name, _) in OVER {
        let file = files.iter().find(|file| file.path == *path);
        let still = file.is_some_and(|file| match *name {
            "" => file.text.lines().count() > LINES_OF_A_FILE,
            name => functions(file).iter().any(|(other, lines)| other == name && *lines > LINES_OF_A_FUNCTION),
        });
        if !still {
            found.push(format!("{path} {name}: within its limit now: remove it from OVER"));
        }
    }
    none("too long", found);
}

#[test]
fn every_file_opens_by_saying_what_it_decides() {
    let files = rust_files();
    let silent = files.iter().filter(|file| !file.text.starts_with("//! "));
    none(
        "a file opens with `//!`: what it decides, and what it does not",
        silent.map(|file| file.path.clone()).collect(),
    );
}
