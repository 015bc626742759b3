//! How real bytes are mutated: bits, bytes and pieces are changed, doubled, removed, or inserted from elsewhere.

use testkit::random::Random;

use crate::draw::Draw;

/// Pieces that are difficult for parsers.
const PIECES: [&[u8]; 42] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"1e999",
    b"-0",
    b"18446744073709551616",
    b"1e-400",
    b"NaN",
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\t",
    b"/",
    b"//",
    b"..",
    b"%2e",
    b"%2F",
    b"%00",
    b"%",
    b"?",
    b"#",
    b";",
    b"*",
    b"&a ",
    b"*a",
    b"<<: ",
    b"ids",
    b"id",
];

impl Draw for Random {
    fn index(&mut self, below: usize) -> usize {
        Random::index(self, below)
    }

    /// Returns one of these, changed a few times: usually once or twice.
    fn bytes(&mut self, corpus: &[&str]) -> Vec<u8> {
        let mut bytes = self.pick(corpus).as_bytes().to_vec();
        for _ in 0..=Random::index(self, 6) * Random::index(self, 2) {
            change(self, &mut bytes, corpus);
        }
        bytes
    }
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[&str]) {
    let at = random.index(bytes.len() + 1);
    let end = (at + random.index(12)).min(bytes.len());
    match random.index(8) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        3 => {
            let other = random.pick(corpus).as_bytes();
            let from = random.index(other.len() + 1);
            bytes.splice(at..end, other[from..].iter().copied());
        }
        4 if at < bytes.len() => bytes[at] ^= 1 << random.index(8),
        5 if at < bytes.len() => bytes[at] = u8::try_from(random.index(256)).expect("a byte"),
        6 => {
            // Deep, or long.
            let piece = *random.pick(&PIECES);
            let times = 1 + random.index(300);
            bytes.splice(at..at, piece.repeat(times));
        }
        _ => {
            let piece = *random.pick(&PIECES);
            bytes.splice(at..end, piece.iter().copied());
        }
    }
}
