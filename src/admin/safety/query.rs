//! The parameters in a request's query. Unknown ones are ignored; if one is given twice, the first counts.

use percent_encoding::percent_decode;

use super::refusal::Refusal;

/// A query's parameters.
pub(in crate::admin) struct Query(Vec<(String, String)>);

impl Query {
    pub(in crate::admin) fn of(text: &str) -> Query {
        let decoded = |part: &str| {
            let spaced: Vec<u8> = part.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
            percent_decode(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Query(pairs.collect())
    }

    /// Returns the parameter's value.
    pub(in crate::admin) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Parses the parameter; a refusal states what was expected.
    pub(in crate::admin) fn read<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => read(text).map(Some).ok_or(Refusal::BadParameter { name, expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_first_counts() {
        let query = Query::of("a=1&a=2&b=x%20y+z%2B&c&&%64=4&e==");
        let found = ["a", "b", "c", "d", "e", "f"].map(|name| query.get(name));
        assert_eq!(found, [Some("1"), Some("x y z+"), Some(""), Some("4"), Some("="), None]);
    }
}
