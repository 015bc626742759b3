//! A connection before its requests are parsed: the number of connections, TLS, and the form of a request's head.
//!
//! Start at [`front`]. It decides nothing about what a request asks for.

mod acceptor;
mod chunks;
mod descriptors;
mod encrypted;
mod front;
mod gate;
mod head;
mod joined;
mod prior;
mod scanner;
mod socket;
mod through;
mod tls;
mod visitors;

pub use self::acceptor::Acceptor;
pub use self::descriptors::Descriptors;
pub use self::front::{ClearH2, Front, FrontOptions};
pub use self::gate::flaw_of;
pub use self::head::{Flaw, HeadLimits};
pub use self::socket::Socket;
pub use self::tls::{CertificateFiles, TlsError, TlsFiles, TlsOptions};
pub use self::visitors::{Serving, VisitorLimits, Visitors, visitor_of};
