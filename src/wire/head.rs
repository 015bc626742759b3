//! Checks the head of an HTTP/1 request: it must have one meaning, whoever reads it, and be within the limits.
//!
//! Pure. It is stricter than the parser behind it: a head that two readers could take for different requests, or for
//! different numbers of them, is refused, even where a standard tolerates it.

/// The limits on a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    pub uri_bytes: usize,
    pub headers: usize,
    /// The whole head, including the request line.
    pub header_bytes: usize,
}

/// Why a request is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Where the request ends, or what it means, depends on who reads it.
    Ambiguous(&'static str),
    UriTooLong,
    TooManyHeaders,
    HeadTooLong,
}

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

const AMBIGUITIES: [&str; 13] = [
    LINE_END,
    REQUEST_LINE,
    VERSION,
    FIELD_NAME,
    FIELD_VALUE,
    FOLDED,
    LENGTHS,
    LENGTH,
    ENCODING,
    BOTH,
    HOST,
    CHUNK,
    BLANK,
];
const LINE_END: &str = "a line ends without CRLF";
const REQUEST_LINE: &str = "the request line is not a method, a target and a version";
const VERSION: &str = "the version is neither HTTP/1.1 nor HTTP/1.0";
const FIELD_NAME: &str = "a header's name is not a token that a colon follows";
const FIELD_VALUE: &str = "a header's value has a control character";
const FOLDED: &str = "a header is folded";
const LENGTHS: &str = "there are several values of Content-Length";
const LENGTH: &str = "Content-Length is not a number";
const ENCODING: &str = "Transfer-Encoding is not chunked, and nothing else";
const BOTH: &str = "there are both Content-Length and Transfer-Encoding";
const HOST: &str = "there is not one Host";
pub(super) const CHUNK: &str = "a chunk is not its length, its bytes and CRLF";
pub(super) const BLANK: &str = "empty lines stand before the request";

/// Longer than any registered method.
const LONGEST_METHOD: usize = 32;

impl Flaw {
    /// A flaw in a chunked body.
    pub const CHUNK: Flaw = Flaw::Ambiguous(CHUNK);

    /// The reason in errors and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Flaw::Ambiguous(_) => "bad_framing",
            Flaw::UriTooLong => "uri_too_long",
            Flaw::TooManyHeaders | Flaw::HeadTooLong => "headers_too_large",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Flaw::Ambiguous(_) => 400,
            Flaw::UriTooLong => 414,
            Flaw::TooManyHeaders | Flaw::HeadTooLong => 431,
        }
    }

    /// The description for the client.
    pub const fn text(self) -> &'static str {
        match self {
            Flaw::Ambiguous(why) => why,
            Flaw::UriTooLong => "the URI is longer than limits.uri_bytes",
            Flaw::TooManyHeaders => "there are more headers than limits.headers",
            Flaw::HeadTooLong => "the headers are longer than limits.header_bytes",
        }
    }

    /// A number for each flaw. [`Flaw::numbered`] is the reverse.
    pub(super) fn number(self) -> usize {
        match self {
            Flaw::UriTooLong => 0,
            Flaw::TooManyHeaders => 1,
            Flaw::HeadTooLong => 2,
            Flaw::Ambiguous(why) => 3 + AMBIGUITIES.iter().position(|one| *one == why).unwrap_or(0),
        }
    }

    pub(super) fn numbered(number: usize) -> Option<Flaw> {
        match number {
            0 => Some(Flaw::UriTooLong),
            1 => Some(Flaw::TooManyHeaders),
            2 => Some(Flaw::HeadTooLong),
            _ => AMBIGUITIES.get(number - 3).map(|why| Flaw::Ambiguous(why)),
        }
    }
}

/// Checks a whole head, including the empty line that ends it.
///
/// # Errors
/// The flaw of the head.
pub fn check(head: &[u8], limits: &HeadLimits) -> Result<Framing, Flaw> {
    if head.len() > limits.header_bytes {
        return Err(Flaw::HeadTooLong);
    }
    let fields = head.strip_suffix(b"\r\n\r\n").ok_or(Flaw::Ambiguous(LINE_END))?;
    let mut lines = Lines(Some(fields));
    let version = request_line(lines.next().unwrap_or(b""), limits)?;
    let mut found = Found::default();
    let mut count = 0;
    for line in lines {
        count += 1;
        if count > limits.headers {
            return Err(Flaw::TooManyHeaders);
        }
        found.field(line)?;
    }
    found.framing(version)
}

/// Checks whether the part of a head that has arrived can still become a valid one.
///
/// # Errors
/// The flaw that the part already has.
pub fn check_part(part: &[u8], limits: &HeadLimits) -> Result<(), Flaw> {
    let line = part.split(|byte| *byte == b'\n').next().unwrap_or(part);
    // The allowance covers the longest method and the version.
    if line.len() > limits.uri_bytes + 64 {
        return Err(Flaw::UriTooLong);
    }
    if part.len() > limits.header_bytes {
        return Err(Flaw::HeadTooLong);
    }
    let mut before = b' ';
    for byte in part {
        if *byte == b'\n' && before != b'\r' {
            return Err(Flaw::Ambiguous(LINE_END));
        }
        before = *byte;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// Splits at CRLF.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        match rest.windows(2).position(|pair| pair == b"\r\n") {
            Some(at) => {
                self.0 = rest.get(at + 2..);
                rest.get(..at)
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

fn request_line(line: &[u8], limits: &HeadLimits) -> Result<Version, Flaw> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Flaw::Ambiguous(REQUEST_LINE));
    };
    let is_visible = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    if method.is_empty()
        || method.len() > LONGEST_METHOD
        || !method.iter().all(is_token)
        || target.is_empty()
        || !target.iter().all(is_visible)
    {
        return Err(Flaw::Ambiguous(REQUEST_LINE));
    }
    if target.len() > limits.uri_bytes {
        return Err(Flaw::UriTooLong);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Flaw::Ambiguous(VERSION)),
    }
}

/// The fields that matter for the framing.
#[derive(Default)]
struct Found {
    length: Option<u64>,
    chunked: bool,
    hosts: usize,
}

impl Found {
    fn field(&mut self, line: &[u8]) -> Result<(), Flaw> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Flaw::Ambiguous(FOLDED));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Flaw::Ambiguous(FIELD_NAME))?;
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        if name.is_empty() || !name.iter().all(is_token) {
            return Err(Flaw::Ambiguous(FIELD_NAME));
        }
        if value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 127)) {
            // Includes a lone CR or LF.
            return Err(Flaw::Ambiguous(FIELD_VALUE));
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() || value.contains(&b',') {
                return Err(Flaw::Ambiguous(LENGTHS));
            }
            self.length = Some(number(value).ok_or(Flaw::Ambiguous(LENGTH))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Flaw::Ambiguous(ENCODING));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if resembles_framing(name) {
            return Err(Flaw::Ambiguous(FIELD_NAME));
        }
        Ok(())
    }

    fn framing(self, version: Version) -> Result<Framing, Flaw> {
        if self.hosts > 1 || (self.hosts == 0 && version == Version::Http11) {
            return Err(Flaw::Ambiguous(HOST));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Flaw::Ambiguous(BOTH)),
            (true, None) if version == Version::Http10 => Err(Flaw::Ambiguous(ENCODING)),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Returns whether the name is like `Content_Length`: some servers take an underscore for a hyphen.
fn resembles_framing(name: &[u8]) -> bool {
    let plain: Vec<u8> = name.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }).collect();
    plain == b"content-length" || plain == b"transfer-encoding"
}

fn number(digits: &[u8]) -> Option<u64> {
    // At most as long as a byte count can be; no sign, no space.
    let is_number = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

const fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { uri_bytes: 100, headers: 5, header_bytes: 400 };

    fn framing(lines: &str) -> Result<Framing, Flaw> {
        check(format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes(), &LIMITS)
    }

    #[test]
    fn an_ordinary_head_is_framed() {
        assert_eq!(framing(""), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("content-LENGTH:12\t \r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\nX: \u{fc}, a\tb\r\n"), Ok(Framing::Chunked));
        assert_eq!(check(b"GET / HTTP/1.0\r\n\r\n", &LIMITS), Ok(Framing::Length(0)));
    }

    #[test]
    fn whatever_two_readers_could_take_differently_is_refused() {
        for (lines, why) in [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", BOTH),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", BOTH),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", LENGTHS),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", LENGTHS),
            ("Content-Length: 1, 1\r\n", LENGTHS),
            ("Content-Length: +1\r\n", LENGTH),
            ("Content-Length: -1\r\n", LENGTH),
            ("Content-Length: 0x1\r\n", LENGTH),
            ("Content-Length: 1 1\r\n", LENGTH),
            ("Content-Length:\r\n", LENGTH),
            ("Content-Length: 99999999999999999999\r\n", LENGTH),
            ("Content_Length: 1\r\n", FIELD_NAME),
            ("Transfer_Encoding: chunked\r\n", FIELD_NAME),
            ("Transfer-Encoding: gzip, chunked\r\n", ENCODING),
            ("Transfer-Encoding: chunked, identity\r\n", ENCODING),
            ("Transfer-Encoding: identity\r\n", ENCODING),
            ("Transfer-Encoding: xchunked\r\n", ENCODING),
            ("Transfer-Encoding: \"chunked\"\r\n", ENCODING),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ENCODING),
            ("Transfer-Encoding:\u{b}chunked\r\n", FIELD_VALUE),
            ("Transfer-Encoding : chunked\r\n", FIELD_NAME),
            ("Transfer-Encoding\t: chunked\r\n", FIELD_NAME),
            (" Transfer-Encoding: chunked\r\n", FOLDED),
            ("X: a\r\n b\r\n", FOLDED),
            ("X: a\r\n\tTransfer-Encoding: chunked\r\n", FOLDED),
            ("X: a\nTransfer-Encoding: chunked\r\n", FIELD_VALUE),
            ("X: a\rTransfer-Encoding: chunked\r\n", FIELD_VALUE),
            ("X: a\0b\r\n", FIELD_VALUE),
            ("X\0: a\r\n", FIELD_NAME),
            ("X Y: a\r\n", FIELD_NAME),
            ("no colon\r\n", FIELD_NAME),
            (": a\r\n", FIELD_NAME),
            ("Host: b\r\n", HOST),
        ] {
            assert_eq!(framing(lines), Err(Flaw::Ambiguous(why)), "{lines:?}");
        }
        for line in [
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET\t/\tHTTP/1.1",
            "GET /",
            "",
            "G\0T / HTTP/1.1",
            "GET /\x7f HTTP/1.1",
            "GET /\r HTTP/1.1",
            "GET /\n HTTP/1.1",
        ] {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(check(head.as_bytes(), &LIMITS), Err(Flaw::Ambiguous(REQUEST_LINE)), "{line:?}");
        }
        for version in ["HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1x", "HTTP/0.9", "HTTP/01.1"] {
            let head = format!("GET / {version}\r\nHost: a\r\n\r\n");
            assert_eq!(check(head.as_bytes(), &LIMITS), Err(Flaw::Ambiguous(VERSION)), "{version}");
        }
        assert_eq!(check(b"GET / HTTP/1.1\r\n\r\n", &LIMITS), Err(Flaw::Ambiguous(HOST)));
        assert_eq!(
            check(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", &LIMITS),
            Err(Flaw::Ambiguous(ENCODING))
        );
    }

    #[test]
    fn each_limit_is_one_of_its_own() {
        let with = |target: usize, fields: usize| {
            let mut head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n", "a".repeat(target - 1));
            (1..fields).for_each(|number| head.push_str(&format!("X{number}: 1\r\n")));
            check(format!("{head}\r\n").as_bytes(), &LIMITS)
        };
        assert_eq!((with(100, 5), with(101, 5)), (Ok(Framing::Length(0)), Err(Flaw::UriTooLong)));
        assert_eq!(with(100, 6), Err(Flaw::TooManyHeaders));
        assert_eq!(framing(&format!("X: {}\r\n", "a".repeat(400))), Err(Flaw::HeadTooLong));
        assert_eq!(check_part(&[b'a'; 200], &LIMITS), Err(Flaw::UriTooLong));
        assert_eq!(
            check_part(format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(400)).as_bytes(), &LIMITS),
            Err(Flaw::HeadTooLong)
        );
        assert_eq!(check_part(b"GET / HTTP/1.1\n", &LIMITS), Err(Flaw::Ambiguous(LINE_END)));
        assert_eq!(check_part(b"GET / HTTP/1.1\r\nX", &LIMITS), Ok(()));
    }

    #[test]
    fn every_flaw_has_a_number() {
        let mut number = 0;
        while let Some(flaw) = Flaw::numbered(number) {
            assert_eq!(flaw.number(), number);
            number += 1;
        }
        assert_eq!(number, 3 + AMBIGUITIES.len());
    }
}
