//! A connection to each server that carries nothing. When it ends, so may have the process: the next one could answer before
//! any probe has missed the first, with another data folder.
//!
//! Decides only when somebody looks: whether the server is another one, its marker shows.

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
/// Between two connections to one server, and between two looks for one that is away.
const PAUSE: Duration = Duration::from_millis(200);
/// A connection that ends sooner was ended by what stands in front of the server: it is made anew less and less often.
const SHORT: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What a request met that was under way is told first; no server starts faster.
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
                // Others are preferred until it is known to be the same.
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
            // Nothing is asked for, so nothing is answered: a byte is as good as an end.
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
    // Else its next answer, to a probe or a request, ends the doubt.
}
