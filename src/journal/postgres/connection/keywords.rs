//! Takes out of a connection string the keywords that the driver does not support: `sslmode` and `sslrootcert`, with
//! all of libpq's values. Also records whether certain other keywords were given, which the driver does not report.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A connection string, split into its parts.
#[derive(Default)]
pub(in crate::journal::postgres) struct Said {
    pub(in crate::journal::postgres) sslmode: Option<String>,
    pub(in crate::journal::postgres) sslrootcert: Option<String>,
    pub(super) target_session_attrs: bool,
    pub(super) keepalives_idle: bool,
    /// The remainder, for the driver to parse.
    pub(in crate::journal::postgres) rest: String,
}

impl Said {
    /// Takes the keyword, or leaves it to the driver.
    fn take(&mut self, key: &str, value: Cow<'_, str>) -> Left {
        match key {
            "sslmode" => self.sslmode = Some(value.into_owned()),
            "sslrootcert" => self.sslrootcert = Some(value.into_owned()),
            other => {
                self.target_session_attrs |= other == "target_session_attrs";
                self.keepalives_idle |= other == "keepalives_idle";
                return Left::ToTheDriver;
            }
        }
        Left::Nothing
    }
}

#[derive(PartialEq, Eq)]
enum Left {
    Nothing,
    ToTheDriver,
}

/// Splits the connection string into its parts.
pub(super) fn split(text: &str) -> Result<Said, String> {
    match ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        true => split_url(text),
        false => split_pairs(text),
    }
}

fn split_url(text: &str) -> Result<Said, String> {
    // The driver takes everything before the first @ as credentials: a ? in there does not begin the parameters.
    let credentials = text.find('@').map_or(0, |at| at + 1);
    // Otherwise the part of a password after its @ would be taken for a host or a database, and shown.
    if text[credentials..].contains('@') {
        return Err("there is a second @: one in a user, a password or a value is written %40".to_owned());
    }
    let Some(query) = text[credentials..].find('?').map(|at| credentials + at) else {
        return Ok(Said { rest: text.to_owned(), ..Said::default() });
    };
    let mut said = Said::default();
    let mut kept = Vec::new();
    for pair in text[query + 1..].split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter has no value")?;
        let decode = |part| percent_decode_str(part).decode_utf8().map_err(|_| "a parameter is not UTF-8".to_owned());
        if said.take(&decode(key)?, decode(value)?) == Left::ToTheDriver {
            kept.push(pair);
        }
    }
    text[..query].clone_into(&mut said.rest);
    if !kept.is_empty() {
        said.rest.push('?');
        said.rest.push_str(&kept.join("&"));
    }
    Ok(said)
}

fn split_pairs(text: &str) -> Result<Said, String> {
    let mut said = Said::default();
    let mut left = text.trim_start();
    while !left.is_empty() {
        let (key, after) = left.split_once('=').ok_or("it is neither a postgres:// URL nor key=value pairs")?;
        let (value, after) = value(after.trim_start())?;
        let key = key.trim();
        if said.take(key, Cow::Borrowed(&value)) == Left::ToTheDriver {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            said.rest.push_str(&format!("{key}='{quoted}' "));
        }
        left = after.trim_start();
    }
    Ok(said)
}

/// Parses a value, quoted or not. Returns it with the rest of the text.
fn value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            space if space.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted { Err("a quoted value does not end".to_owned()) } else { Ok((value, "")) }
}

/// Returns the driver's error without the text that it quotes: part of a password may stand where the driver expects a
/// keyword.
pub(in crate::journal::postgres) fn explain(error: &tokio_postgres::Error) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match text.strip_prefix("unknown option") {
        Some(_) => "it has a keyword that is not supported here".to_owned(),
        None if text.starts_with("invalid value for option") => text,
        None => "it is neither a postgres:// URL nor key=value pairs".to_owned(),
    }
}
