//! The listeners: what each of them serves, and the limits on its connections.

use std::sync::Arc;

use pingora::apps::HttpServerOptions;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::proxy::HttpProxy;
use pingora::server::Server;

use super::handover::OpenDoor;
use super::image::{Inherited, could_bind};
use super::start_error::StartError;
use crate::config::Config;
use crate::current::Current;
use crate::proxy::{Admission, Door, Listener, ProxyOptions, StandbyState};
use crate::web::OwnPages;
use crate::wire::{Acceptor, Front, Socket, TlsFiles, VisitorLimits, Visitors};

/// The most connections to the listener for the edge's own pages, which only a few people and programs read.
const PAGE_CONNECTIONS: usize = 100;

/// A listener as Pingora serves it.
pub(super) type ListenerService = Acceptor<HttpProxy<Listener>>;

/// Builds the proxy behind the listeners, still a standby.
pub(super) fn listener(
    config: &Config,
    (standby, pages, options): (Arc<StandbyState>, Arc<dyn OwnPages>, Current<ProxyOptions>),
    admission: &Arc<Admission>,
) -> Listener {
    let idle_timeout = config.limits.wire.front.idle_timeout;
    let listener = Listener::new(standby, pages, Arc::clone(admission), (options, idle_timeout));
    if config.admin_listen.is_some() { listener.behind(Door::Clients) } else { listener }
}

/// The sockets: one for clients, and one for the edge's own pages if they have a listener.
pub(super) struct Sockets {
    clients: Arc<Socket>,
    pages: Option<Arc<Socket>>,
}

impl Sockets {
    /// Takes the sockets that this process was given. Any others are bound later.
    pub fn of(config: &Config, inherited: &mut Inherited) -> Result<Sockets, StartError> {
        let mut socket = |address| {
            let given = inherited.socket(address);
            if given.is_none() {
                // Checked before anything else is started.
                could_bind(address).map_err(|error| StartError::Listen { address, error })?;
            }
            Ok::<_, StartError>(Arc::new(Socket::new(address, given)))
        };
        let clients = socket(config.listen)?;
        let pages = config.admin_listen.map(socket).transpose()?;
        inherited.close_others();
        Ok(Sockets { clients, pages })
    }
}

/// Builds the listener for clients, and the one for the edge's own pages if configured.
pub(super) fn services(
    server: &Server,
    (listener, sockets): (Listener, Sockets),
    config: &Config,
) -> Result<(Vec<ListenerService>, Vec<OpenDoor>), StartError> {
    // The check has read these files already, but they may have changed since.
    let tls = config.tls.clone().map(TlsFiles::open).transpose();
    let tls = tls.map_err(|error| StartError::Setup(error.to_string()))?.map(Arc::new);
    let (mut services, mut doors) = (Vec::new(), Vec::new());
    let mut open = |name, socket: Arc<Socket>, listener, visitors: Arc<Visitors>| {
        doors.push(OpenDoor { socket: Arc::clone(&socket), visitors: Arc::clone(&visitors) });
        services.push(Acceptor::new(name, socket, front(server, listener, (visitors, tls.clone()), config)));
    };
    if let Some(socket) = sockets.pages {
        let limits =
            VisitorLimits { connections: PAGE_CONNECTIONS, per_address: PAGE_CONNECTIONS, proxies: Vec::new() };
        open("pages", socket, listener.behind(Door::Pages), Visitors::new(limits));
    }
    let visitors = Arc::clone(listener.visitors());
    open("proxy", sockets.clients, listener, visitors);
    Ok((services, doors))
}

/// Wraps the proxy in the limits on its connections.
fn front(
    server: &Server,
    listener: Listener,
    (visitors, tls): (Arc<Visitors>, Option<Arc<TlsFiles>>),
    config: &Config,
) -> Front<HttpProxy<Listener>> {
    let wire = config.limits.wire;
    let mut proxy = pingora::proxy::http_proxy(&server.configuration, listener);
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(wire.front.idle_timeout);
    proxy.server_options = Some(options);
    let mut frames = default_h2_options();
    frames.max_header_list_size(u32::try_from(wire.front.head.header_bytes).unwrap_or(u32::MAX));
    proxy.h2_options = Some(frames);
    Front::new(proxy, wire.front, visitors, tls)
}
