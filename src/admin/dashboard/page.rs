//! The page: one document with style and script inline, and a policy under which a browser runs nothing else.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use sha2::{Digest, Sha256};

use crate::web::Reply;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = include_str!("page.html");
    Bytes::from(document.replace("/* style */", STYLE).replace("/* script */", SCRIPT))
});

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The page.
pub(super) fn document() -> Reply {
    Reply::json(200, DOCUMENT.clone())
        .with(CONTENT_TYPE, "text/html; charset=utf-8")
        .with(CONTENT_SECURITY_POLICY, &POLICY)
        .with(CACHE_CONTROL, "no-cache")
        .with(REFERRER_POLICY, "no-referrer")
        .with(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(X_FRAME_OPTIONS, "DENY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_whole_and_names_nothing_outside() {
        let text = std::str::from_utf8(&DOCUMENT).unwrap();
        assert!(text.contains(STYLE) && text.contains(SCRIPT));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
    }

    #[test]
    fn nothing_is_put_into_the_page_as_markup() {
        for risky in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(risky), "{risky}: names come from clients");
        }
    }
}
