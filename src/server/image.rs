//! The program that replaces this one in the same process, and what it inherits: the arguments, the environment and the
//! listening sockets.
//!
//! It decides where to find the program, and how sockets are passed on: the way systemd does it (`LISTEN_FDS`).
//! [`handover`](super::handover) decides when a process is replaced.
//! process is replaced is decided in [`handover`](super::handover).

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tracing::warn;

/// How long the program may take to check the configuration.
const CHECK: Duration = Duration::from_secs(10);
/// How many of the last lines of its output are reported to the caller.
const TOLD_LINES: usize = 10;

const COUNT: &str = "LISTEN_FDS";
const PROCESS: &str = "LISTEN_PID";
const FIRST: &str = "LISTEN_FDS_FIRST_FD";
const NAMES: &str = "LISTEN_FDNAMES";
/// Placements that operators have requested, which are in no configuration.
const PLACEMENTS: &str = "CHROMA_EDGE_PLACEMENTS";

/// The program, with the name and arguments it was called with.
#[derive(Clone, Debug)]
pub(super) struct Image {
    program: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

/// Why this program does not take over.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageError {
    #[error("{program} cannot be started: {error}", program = .program.display())]
    Start { program: PathBuf, error: io::Error },
    #[error("{program} has not checked the configuration within {CHECK:?}", program = .program.display())]
    Slow { program: PathBuf },
    #[error("{program} refuses the configuration: {said}", program = .program.display())]
    Refuses { program: PathBuf, said: String },
}

/// The sockets that this process was given at its start, and its predecessor's placements.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
    pub placements: Option<String>,
}

impl Image {
    /// Returns the image of this process. Call it at the start: later the file may be a different one, and that is the
    /// one to run.
    pub fn of_this_process() -> io::Result<Image> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let called = PathBuf::from(&name);
        // A link that points to another version by then is followed. A name without a slash was found in PATH.
        let program = match called.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => std::path::absolute(&called)?,
            _ => std::env::current_exe()?,
        };
        Ok(Image { program, name, arguments: arguments.collect() })
    }

    /// Has the program that would take over check the configuration.
    pub async fn check(&self) -> Result<(), ImageError> {
        let program = || self.program.clone();
        let mut command = tokio::process::Command::new(&self.program);
        command.arg("check").args(self.arguments.iter().skip(1)).stdin(Stdio::null()).kill_on_drop(true);
        for name in [COUNT, PROCESS, FIRST, NAMES, PLACEMENTS] {
            command.env_remove(name);
        }
        let output = tokio::time::timeout(CHECK, command.output())
            .await
            .map_err(|_| ImageError::Slow { program: program() })?
            .map_err(|error| ImageError::Start { program: program(), error })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(TOLD_LINES)..].join("; ");
        Err(ImageError::Refuses { program: program(), said: format!("{last} ({})", output.status) })
    }

    /// Replaces the program in this process, which keeps its id. Returns only on failure.
    pub fn replace(&self, sockets: &[OwnedFd], placements: Option<&str>) -> io::Error {
        let sockets = match in_a_row(sockets) {
            Ok(sockets) => sockets,
            Err(error) => return error,
        };
        let mut command = std::process::Command::new(&self.program);
        command.arg0(&self.name).args(&self.arguments);
        for name in [FIRST, NAMES, PLACEMENTS] {
            command.env_remove(name);
        }
        if let Some(first) = sockets.first() {
            command.env(FIRST, first.as_raw_fd().to_string());
        }
        command.env(COUNT, sockets.len().to_string()).env(PROCESS, std::process::id().to_string());
        if let Some(placements) = placements {
            command.env(PLACEMENTS, placements);
        }
        if let Err(error) = sockets.iter().try_for_each(|socket| fcntl_setfd(socket, FdFlags::empty())) {
            return error.into();
        }
        command.exec()
    }
}

/// Duplicates the descriptors of these sockets so that their numbers are consecutive.
fn in_a_row(sockets: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let mut from = 3;
    loop {
        let mut row: Vec<OwnedFd> = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let least = row.last().map_or(from, |last| last.as_raw_fd() + 1);
            row.push(fcntl_dupfd_cloexec(socket.as_fd(), least)?);
        }
        let is_row = row.windows(2).all(|pair| pair[1].as_raw_fd() == pair[0].as_raw_fd() + 1);
        match row.last() {
            Some(last) if !is_row => from = last.as_raw_fd(),
            _ => return Ok(row),
        }
    }
}

impl Inherited {
    /// Takes them from the environment, which it changes: call it before the first thread is started.
    pub fn take() -> Inherited {
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for number in 0..given.len() {
            match given.take_tcp_listener(number).and_then(|socket| {
                let socket = socket.ok_or(io::ErrorKind::NotFound)?;
                Ok((socket.local_addr()?, socket))
            }) {
                Ok(socket) => sockets.push(socket),
                Err(error) => warn!(number, %error, "inherited a descriptor that is not a listening socket"),
            }
        }
        Inherited { sockets, placements: std::env::var(PLACEMENTS).ok() }
    }

    /// Takes the socket for connections to this address.
    pub fn socket(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |(bound, _): &(SocketAddr, TcpListener)| {
            *bound == address || (bound.port() == address.port() && bound.ip().is_unspecified())
        };
        let found = self.sockets.iter().position(fits)?;
        let (bound, socket) = self.sockets.swap_remove(found);
        tracing::info!(%bound, "this process was given its listening socket: connections have waited there");
        Some(socket)
    }

    /// Closes the sockets that were not taken.
    pub fn close_others(&mut self) {
        for (bound, _) in self.sockets.drain(..) {
            warn!(%bound, "this process was given a listening socket that its configuration does not name: it is closed");
        }
    }
}

/// Checks that an address can be listened on.
pub(super) fn could_bind(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_each_other_whatever_is_in_the_way() {
        let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = [socket(), socket(), socket()];
        // Gaps of one.
        let mut others: Vec<Option<OwnedFd>> = (0..64).map(|_| Some(socket())).collect();
        others.iter_mut().step_by(2).for_each(|one| *one = None);
        let row = in_a_row(&sockets).unwrap();
        let numbers: Vec<i32> = row.iter().map(AsRawFd::as_raw_fd).collect();
        assert_eq!(numbers, [numbers[0], numbers[0] + 1, numbers[0] + 2]);
        for (one, again) in sockets.into_iter().zip(row) {
            let address = |fd: OwnedFd| TcpListener::from(fd).local_addr().unwrap();
            assert_eq!(address(one), address(again));
        }
    }

    #[test]
    fn a_socket_is_for_its_address_or_its_port_on_all() {
        let bound = |text: &str| {
            let socket = TcpListener::bind(text).unwrap();
            (socket.local_addr().unwrap(), socket)
        };
        let mut inherited = Inherited { sockets: vec![bound("127.0.0.1:0"), bound("0.0.0.0:0")], placements: None };
        let [one, all] = [0, 1].map(|number| inherited.sockets[number].0);
        assert!(inherited.socket(SocketAddr::from(([127, 0, 0, 1], all.port()))).is_some());
        assert!(inherited.socket(SocketAddr::from(([127, 0, 0, 2], one.port()))).is_none());
        assert!(inherited.socket(one).is_some() && inherited.socket(one).is_none());
    }
}
