//! The methods that the routes tell apart. Which path takes which method is in `table.rs`.

/// Methods are case-sensitive; HEAD is answered by Chroma wherever GET is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Options,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Method {
    /// The method of this name.
    pub fn of(text: &str) -> Self {
        match text {
            "GET" | "HEAD" => Method::Get,
            "OPTIONS" => Method::Options,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            _ => Method::Other,
        }
    }

    /// Whether it cannot write.
    pub const fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Options)
    }
}
