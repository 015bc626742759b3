//! What the clients send, as `scripts/load.py` writes it: numbers of 32 bits, little-endian.
//!
//! The ports (how many, then each); the number of clients; for each client, how often it repeats its steps, the number
//! of steps, and for each step and port a request (its length, then its bytes).

use std::io::{Error, ErrorKind, Result};

pub struct Plan {
    pub ports: Vec<u16>,
    pub clients: Vec<Client>,
}

pub struct Client {
    pub repeat: usize,
    /// Each step has one request per port.
    pub steps: Vec<Vec<Vec<u8>>>,
}

impl Plan {
    pub fn parse(bytes: &[u8]) -> Result<Plan> {
        let mut rest = bytes;
        let ports: Vec<u16> = (0..number(&mut rest)?)
            .map(|_| u16::try_from(number(&mut rest)?).map_err(|_| bad("a port beyond 65535")))
            .collect::<Result<_>>()?;
        let clients = (0..number(&mut rest)?).map(|_| client(&mut rest, ports.len())).collect::<Result<_>>()?;
        if rest.is_empty() { Ok(Plan { ports, clients }) } else { Err(bad("something follows the last client")) }
    }
}

fn client(rest: &mut &[u8], ports: usize) -> Result<Client> {
    let (repeat, steps) = (number(rest)?, number(rest)?);
    let step = |rest: &mut &[u8]| (0..ports).map(|_| request(rest)).collect::<Result<_>>();
    Ok(Client { repeat, steps: (0..steps).map(|_| step(rest)).collect::<Result<_>>()? })
}

fn request(rest: &mut &[u8]) -> Result<Vec<u8>> {
    let length = number(rest)?;
    let (request, behind) = rest.split_at_checked(length).ok_or_else(|| bad("a request ends too early"))?;
    *rest = behind;
    Ok(request.to_vec())
}

fn number(rest: &mut &[u8]) -> Result<usize> {
    let (bytes, behind) = rest.split_first_chunk::<4>().ok_or_else(|| bad("a number is missing"))?;
    *rest = behind;
    usize::try_from(u32::from_le_bytes(*bytes)).map_err(Error::other)
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the plan: {what}"))
}
