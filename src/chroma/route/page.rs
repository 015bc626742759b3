//! `limit` and `offset` of a list, read as Chroma reads them.
//!
//! The edge pages lists, in its own order. A page that Chroma refuses (400) is left to Chroma, so that the client gets
//! Chroma's own text: hence [`Page::Malformed`], never an error of the edge's.

use percent_encoding::percent_decode;

/// The part of a list that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    Window(Window),
    /// Chroma answers 400: not a number, negative, more than 32 bits, or given twice.
    Malformed,
}

/// A well-formed page. `limit: Some(0)` is an empty page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    pub limit: Option<u32>,
    pub offset: Option<u32>,
}

impl Window {
    /// Returns the position of its first item in the whole list.
    pub fn offset(self) -> usize {
        self.offset.map_or(0, widen)
    }

    /// Returns the items of this page.
    pub fn select<T>(self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let limit = self.limit.map_or(usize::MAX, widen);
        items.into_iter().skip(self.offset()).take(limit).collect()
    }
}

fn widen(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Parses a query string (form encoding; keys are case-sensitive, unknown ones ignored).
pub(super) fn page(query: Option<&str>) -> Page {
    let mut limit = None;
    let mut offset = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let field = match page_field(key) {
            Some(PageField::Limit) => &mut limit,
            Some(PageField::Offset) => &mut offset,
            None => continue,
        };
        match form_decoded(value).parse::<u32>() {
            Ok(number) if field.is_none() => *field = Some(number),
            _ => return Page::Malformed,
        }
    }
    Page::Window(Window { limit, offset })
}

/// A query key that belongs to a page.
pub(in crate::chroma) enum PageField {
    Limit,
    Offset,
}

/// Returns the page field that this raw key names, if any.
pub(in crate::chroma) fn page_field(key: &str) -> Option<PageField> {
    match form_decoded(key).as_str() {
        "limit" => Some(PageField::Limit),
        "offset" => Some(PageField::Offset),
        _ => None,
    }
}

fn form_decoded(text: &str) -> String {
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(limit: Option<u32>, offset: Option<u32>) -> Page {
        Page::Window(Window { limit, offset })
    }

    #[test]
    fn reads_what_chroma_reads() {
        for (query, expected) in [
            ("", window(None, None)),
            ("limit=0", window(Some(0), None)),
            ("limit=%31", window(Some(1), None)),
            ("limit=%2B1", window(Some(1), None)),
            ("%6cimit=1", window(Some(1), None)),
            ("limit=01", window(Some(1), None)),
            ("&&limit=1&", window(Some(1), None)),
            ("limit=2&offset=1&x=%ff", window(Some(2), Some(1))),
            ("limit=4294967295", window(Some(u32::MAX), None)),
            ("Limit=1", window(None, None)),
        ] {
            assert_eq!(page(Some(query)), expected, "{query}");
        }
    }

    #[test]
    fn leaves_to_chroma_what_chroma_refuses() {
        for query in [
            "limit=abc",
            "limit=-1",
            "limit=",
            "limit",
            "offset=",
            "limit=1&limit=2",
            "limit=+1",
            "limit=1.0",
            "limit=4294967296",
            "limit=null",
            "limit=%ff",
            "limit=1;offset=1",
            "limit=-0",
            "offset=1&offset=a",
        ] {
            assert_eq!(page(Some(query)), Page::Malformed, "{query}");
        }
    }

    #[test]
    fn a_window_selects() {
        let select = |limit, offset| Window { limit, offset }.select(1..=5);
        assert_eq!(select(None, None), [1, 2, 3, 4, 5]);
        assert_eq!(select(Some(2), Some(1)), [2, 3]);
        assert_eq!(select(Some(0), None), Vec::<i32>::new());
        assert_eq!(select(Some(u32::MAX), Some(4)), [5]);
        assert_eq!(select(None, Some(u32::MAX)), Vec::<i32>::new());
    }
}
