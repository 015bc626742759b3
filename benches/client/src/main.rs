//! The clients of the benchmarks: each sends its next request when the last one is answered. All of them share one
//! thread, so that the processors are left to the program under measurement. Their requests come from standard input
//! (see `plan.rs`). The results go to standard output as JSON: the seconds that everything took, the microseconds of
//! processor time of these clients themselves, and the wait for each answer in microseconds. `scripts/` decides what to
//! compare.

mod connection;
mod plan;

use std::error::Error;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use tokio::sync::Barrier;
use tokio::task::LocalSet;

use connection::Connection;
use plan::{Client, Plan};

/// The longest wait for an answer. If one takes longer, the measurement is worthless.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let plan = Plan::parse(&bytes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = LocalSet::new().block_on(&runtime, run(plan))?;
    let waits: Vec<String> = seen.waits.iter().map(|wait| wait.as_micros().to_string()).collect();
    let (seconds, processor) = (seen.took.as_secs_f64(), seen.processor.as_micros());
    println!("{{\"seconds\": {seconds}, \"processor_us\": {processor}, \"waits_us\": [{}]}}", waits.join(", "));
    Ok(())
}

struct Seen {
    took: Duration,
    /// The processor time of this process.
    processor: Duration,
    waits: Vec<Duration>,
}

async fn run(plan: Plan) -> Result<Seen, Box<dyn Error>> {
    let begin = Rc::new(Barrier::new(plan.clients.len() + 1));
    let ports: Rc<[u16]> = plan.ports.into();
    let clients: Vec<_> = plan
        .clients
        .into_iter()
        .map(|client| tokio::task::spawn_local(closed_loop(client, Rc::clone(&ports), Rc::clone(&begin))))
        .collect();
    begin.wait().await;
    let (begun, idle) = (Instant::now(), processor_time()?);
    let mut waits = Vec::new();
    for client in clients {
        waits.extend(client.await??);
    }
    Ok(Seen { took: begun.elapsed(), processor: processor_time()?.saturating_sub(idle), waits })
}

/// Sends each step to all ports at once, and waits for all of them.
async fn closed_loop(client: Client, ports: Rc<[u16]>, begin: Rc<Barrier>) -> std::io::Result<Vec<Duration>> {
    let mut connections = Vec::new();
    for port in &*ports {
        connections.push(Connection::open(*port).await?);
    }
    begin.wait().await;
    let mut waits = Vec::with_capacity(client.steps.len() * client.repeat);
    for step in std::iter::repeat_n(&client.steps, client.repeat).flatten() {
        let begun = Instant::now();
        for (connection, request) in connections.iter_mut().zip(step) {
            connection.send(request).await?;
        }
        for connection in &mut connections {
            tokio::time::timeout(PATIENCE, connection.receive()).await??;
        }
        waits.push(begun.elapsed());
    }
    Ok(waits)
}

fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros =
        |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec() as u32 * 1000);
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}
