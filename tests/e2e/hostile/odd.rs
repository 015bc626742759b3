//! Odd values, drawn from a seed: unusual numbers, texts, names and JSON. Decides no request.

use testkit::random::Random;

const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "3",
    "-0",
    "0.0",
    "1e400",
    "-1e400",
    "1.5",
    "4294967295",
    "2147483648",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775808",
    "1e-400",
    "NaN",
];

const FIELDS: [&str; 20] = [
    "k",
    "#document",
    "#embedding",
    "#key",
    "#score",
    "chroma:document",
    "chroma:x",
    "$and",
    "$or",
    "$not",
    "$in",
    "$contains",
    "$regex",
    "hnsw:M",
    "hnsw:batch_size",
    "",
    "indices",
    "values",
    "#type",
    "\\u0063hroma:uri",
];

/// Returns a number. Every other one is ordinary, so that what is next to it is reached at all.
pub fn number(random: &mut Random) -> &'static str {
    if random.percent(50) { random.pick::<&str>(&["1", "3", "10"]) } else { random.pick::<&str>(&NUMBERS) }
}

/// Returns an unusual JSON value.
pub fn value(random: &mut Random, depth: u32) -> String {
    match random.below(if depth > 3 { 10 } else { 13 }) {
        0 => "null".to_owned(),
        1 => (*random.pick(&["true", "false"])).to_owned(),
        2 => number(random).to_owned(),
        3 => "\"\"".to_owned(),
        4 => "\"\\ud800\"".to_owned(),
        5 => "\"\\u0000\"".to_owned(),
        6 => format!("\"{}\"", "x".repeat(random.index(100_000))),
        7 => "\"\u{202e}\u{1f4a9} ' OR 1=1; -- \\\" %_*?[\"".to_owned(),
        8 => "[]".to_owned(),
        9 => "{}".to_owned(),
        10 => list(random, 6, |random| value(random, depth + 1)),
        11 => format!("{{\"{}\":{},\"k\":{}}}", field(random), value(random, depth + 1), value(random, depth + 1)),
        _ => {
            let deep = *random.pick(&[30, 126, 127, 128, 300, 20_000]);
            "[".repeat(deep) + &"]".repeat(deep)
        }
    }
}

/// Returns the name of a field, with escapes as they are.
pub fn field(random: &mut Random) -> &'static str {
    random.pick::<&str>(&FIELDS)
}

/// Returns a list of at most this many items.
pub fn list(random: &mut Random, most: usize, item: impl Fn(&mut Random) -> String) -> String {
    let items: Vec<String> = (0..random.index(most + 1)).map(|_| item(random)).collect();
    format!("[{}]", items.join(","))
}

/// Returns a size, usually a small one.
pub fn size(random: &mut Random) -> usize {
    *random.pick(&[0, 1, 2, 5, 20, 100, 900, 1100, 3000, 10_000])
}

/// Returns a segment of a path.
pub fn segment(random: &mut Random) -> String {
    match random.below(9) {
        0 => "%00".to_owned(),
        1 => "%ff".to_owned(),
        2 => "%2e%2e".to_owned(),
        3 => "a%2Fb".to_owned(),
        4 => "x".repeat(1 + random.index(6000)),
        5 => "00000000-0000-0000-0000-000000000000".to_owned(),
        6 => "'%20OR%201=1".to_owned(),
        7 => "by-id".to_owned(),
        _ => format!("odd{}", random.below(5)),
    }
}

/// Returns the parameters of a list's page.
pub fn page(random: &mut Random) -> String {
    let mut query = "?".to_owned();
    for name in ["limit", "offset"] {
        if random.percent(60) {
            query.push_str(&format!("{name}={}&", number(random)));
        }
    }
    query
}

/// Returns these bytes with a few changes: pieces left out, repeated, or replaced.
pub fn mutated(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    const PIECES: [&str; 12] = ["null", "[", "]", "{", "}", "\"", ",", "1e400", "-", "\\u0000", "\\ud800", "\u{0}"];
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let start = random.index(bytes.len());
        let end = (start + 1 + random.index(40)).min(bytes.len());
        match random.below(4) {
            0 => drop(bytes.drain(start..end)),
            1 => {
                let again = bytes[start..end].to_vec();
                bytes.splice(start..start, again);
            }
            2 => drop(bytes.splice(start..end, random.pick(&PIECES).bytes())),
            _ => bytes[start] ^= 1 << random.below(8),
        }
    }
    bytes
}
