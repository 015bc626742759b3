//! Keeps an idle connection to each server. When it ends, the process may have ended, too: the next one could answer
//! with another data folder before any probe has missed the first.
//!
//! Decides only when to check. The server's marker shows whether it is another one.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::inspect::Inspector;
use crate::clock;
use crate::coordinator::Core;
use crate::ids::InstanceId;
use crate::instance::{Generation, Observation};

const CONNECT: Duration = Duration::from_secs(5);
/// The pause between two connections to one server, and between two checks of one that is away.
const PAUSE: Duration = Duration::from_millis(200);
/// A connection that ends sooner was ended by something in front of the server. The next ones are made less and less
/// often.
const SHORT: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Gives requests in flight time to report first how they ended. No server starts faster.
const AFTER_THE_END: Duration = Duration::from_millis(50);

/// Watches the instance's process until the future is dropped.
pub(super) async fn watch(core: &Core, inspector: &Inspector, instance: InstanceId) {
    let registry = core.registry();
    let mut pause = PAUSE;
    loop {
        let generation = registry.generation(instance);
        let begun = clock::now();
        if registry.usable(instance)
            && let Some(address) = registry.address(instance)
            && let Ok(connection) = connect(address).await
        {
            ended(core, instance, connection, generation).await;
            if registry.usable(instance) && registry.generation(instance) == generation {
                // Other instances are preferred until this one is known to be the same.
                registry.observe_because(instance, Observation::Unanswered, "its connection has ended");
                tokio::time::sleep(AFTER_THE_END).await;
                look(core, inspector, instance, address).await;
                core.discovery().may_be_another_process(instance);
            }
            let stays = registry.generation(instance) == generation;
            pause = if stays && begun.elapsed() < SHORT { (2 * pause).min(LONGEST_PAUSE) } else { PAUSE };
        }
        tokio::time::sleep(pause).await;
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    tokio::time::timeout(CONNECT, TcpStream::connect(address)).await?
}

/// Waits until the server closes the connection, or is known to have gone.
async fn ended(core: &Core, instance: InstanceId, mut connection: TcpStream, generation: Generation) {
    let mut changes = core.registry().changes();
    let mut byte = [0];
    loop {
        tokio::select! {
            // No request is sent, so no answer is due: a byte counts as the end as well.
            _ = connection.read(&mut byte) => return,
            changed = changes.changed() => {
                if changed.is_err() || core.registry().generation(instance) != generation {
                    return;
                }
            }
        }
    }
}

async fn look(core: &Core, inspector: &Inspector, instance: InstanceId, address: SocketAddr) {
    let registry = core.registry();
    let refused = connect(address).await.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    if refused {
        registry.observe_because(instance, Observation::Refused, "its connections have ended, and it takes no new one");
    } else if !inspector.is_unchanged(instance).await {
        registry.observe_because(
            instance,
            Observation::Replaced,
            "another server answers there, or one with other data",
        );
    }
    // Otherwise its next answer, to a probe or a request, ends the doubt.
}
