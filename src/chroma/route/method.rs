//! The methods that the routes distinguish. `table.rs` defines which path takes which method.

/// Methods are case-sensitive. Chroma answers HEAD wherever it answers GET.
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
    /// Returns the method with this name.
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

    /// Returns whether it cannot write.
    pub const fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Options)
    }
}
