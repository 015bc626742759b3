//! How to reach the database: libpq's URL or key-value form, with its `sslmode` and `sslrootcert`.
//!
//! Decides which strings are accepted, and the defaults for what they leave out. The password leaves this type only to
//! open a connection: it is never displayed, and neither is any part of a string that does not parse.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::keywords;

/// How long one host may take to accept a connection, unless the URL sets it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time without an acknowledgement the system drops a connection, unless the URL sets it.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long an idle connection is probed, how often, and how many times, unless the URL sets it.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(3), 3);

/// Whether the connection is encrypted, and what is checked about the server: libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal::postgres) enum Encryption {
    Disabled,
    /// Encrypted if the server supports it; nothing is checked.
    Preferred,
    /// Always encrypted; nothing is checked.
    Required,
    /// Always encrypted, and a trusted authority signed the server's certificate.
    SignedByTrusted,
    /// Always encrypted, and the certificate is also valid for this host.
    Verified,
}

/// The authorities trusted to sign the server's certificate: libpq's `sslrootcert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal::postgres) enum Trusted {
    System,
    File(PathBuf),
}

/// A parsed connection string.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// One per host, in the order given.
    targets: Vec<Config>,
    encryption: Encryption,
    trusted: Trusted,
}

impl DatabaseUrl {
    /// Parses a connection string in libpq's URL or key-value form. Several hosts are tried in order. Unless
    /// `target_session_attrs` is given, only a host that accepts writes is used.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<DatabaseUrl, String> {
        let said = keywords::split(text)?;
        let config: Config = said.rest.parse().map_err(|error| keywords::explain(&error))?;
        let encryption = encryption(said.sslmode.as_deref(), said.sslrootcert.as_deref())?;
        let trusted = match said.sslrootcert.as_deref() {
            None | Some("system") => Trusted::System,
            Some(file) => Trusted::File(PathBuf::from(file)),
        };
        let targets = targets(&config, &said, encryption)?;
        Ok(DatabaseUrl { targets, encryption, trusted })
    }

    /// Returns whether the string contains a password.
    pub fn has_password(&self) -> bool {
        self.targets.iter().any(|target| target.get_password().is_some())
    }

    /// Returns one configuration per host, to be tried in this order.
    pub(super) fn targets(&self) -> &[Config] {
        &self.targets
    }

    pub(in crate::journal::postgres) fn encryption(&self) -> Encryption {
        self.encryption
    }

    pub(in crate::journal::postgres) fn trusted(&self) -> &Trusted {
        &self.trusted
    }
}

fn encryption(mode: Option<&str>, root: Option<&str>) -> Result<Encryption, String> {
    match mode {
        // As in libpq: the system's certificates are only useful if the name is checked as well.
        None if root == Some("system") => Ok(Encryption::Verified),
        // libpq's `allow` tries without encryption first, which protects no one. Treating it as `prefer` is safer.
        None | Some("prefer" | "allow") => Ok(Encryption::Preferred),
        Some("disable") => Ok(Encryption::Disabled),
        Some("require") => Ok(Encryption::Required),
        Some("verify-ca") => Ok(Encryption::SignedByTrusted),
        Some("verify-full") => Ok(Encryption::Verified),
        Some(_) => Err("sslmode must be disable, allow, prefer, require, verify-ca or verify-full".to_owned()),
    }
}

/// Returns one configuration per host. Each gets its own time to answer, so that a silent host hides no other.
fn targets(config: &Config, said: &keywords::Said, encryption: Encryption) -> Result<Vec<Config>, String> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err("it names no host".to_owned());
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err("it names as many host addresses as hosts, or none".to_owned());
    }
    if ports.len() > 1 && ports.len() != count {
        return Err("it names one port, or one for each host".to_owned());
    }
    let targets = (0..count).map(|index| {
        let mut target = common(config, said, encryption);
        match hosts.get(index) {
            Some(Host::Tcp(name)) => drop(target.host(name)),
            #[cfg(unix)]
            Some(Host::Unix(path)) => drop(target.host_path(path)),
            None => {}
        }
        if let Some(address) = addresses.get(index) {
            target.hostaddr(*address);
        }
        target.port(ports.get(index).or(ports.first()).copied().unwrap_or(5432));
        target
    });
    Ok(targets.collect())
}

/// Returns a configuration with everything but the host.
fn common(config: &Config, said: &keywords::Said, encryption: Encryption) -> Config {
    let mut target = Config::new();
    if let Some(user) = config.get_user() {
        target.user(user);
    }
    if let Some(password) = config.get_password() {
        target.password(password);
    }
    if let Some(name) = config.get_dbname() {
        target.dbname(name);
    }
    if let Some(options) = config.get_options() {
        target.options(options);
    }
    target.application_name(config.get_application_name().unwrap_or("chroma-edge"));
    target.ssl_mode(match encryption {
        Encryption::Disabled => SslMode::Disable,
        Encryption::Preferred => SslMode::Prefer,
        Encryption::Required | Encryption::SignedByTrusted | Encryption::Verified => SslMode::Require,
    });
    target.ssl_negotiation(config.get_ssl_negotiation());
    target.channel_binding(config.get_channel_binding());
    target.target_session_attrs(match said.target_session_attrs {
        true => config.get_target_session_attrs(),
        false => TargetSessionAttrs::ReadWrite,
    });
    target.connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT));
    target.tcp_user_timeout(config.get_tcp_user_timeout().copied().unwrap_or(USER_TIMEOUT));
    target.keepalives(config.get_keepalives());
    let (idle, interval, retries) = KEEPALIVE;
    target.keepalives_idle(if said.keepalives_idle { config.get_keepalives_idle() } else { idle });
    target.keepalives_interval(config.get_keepalives_interval().unwrap_or(interval));
    target.keepalives_retries(config.get_keepalives_retries().unwrap_or(retries));
    target
}

/// Returns where one target is: `host:port`.
pub(in crate::journal::postgres) fn place(target: &Config) -> String {
    let port = target.get_ports().first().copied().unwrap_or(5432);
    match (target.get_hosts().first(), target.get_hostaddrs().first()) {
        (Some(Host::Tcp(name)), _) if name.contains(':') => format!("[{name}]:{port}"),
        (Some(Host::Tcp(name)), _) => format!("{name}:{port}"),
        #[cfg(unix)]
        (Some(Host::Unix(path)), _) => format!("{}:{port}", path.display()),
        (None, Some(address)) => std::net::SocketAddr::new(*address, port).to_string(),
        (None, None) => format!("?:{port}"),
    }
}

impl fmt::Display for DatabaseUrl {
    /// `user@host:port/database`, without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.targets.first() else { return Ok(()) };
        if let Some(user) = first.get_user() {
            write!(f, "{user}@")?;
        }
        let places: Vec<String> = self.targets.iter().map(place).collect();
        f.write_str(&places.join(","))?;
        first.get_dbname().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(text).unwrap()
    }

    #[test]
    fn the_password_is_shown_nowhere() {
        let forms = ["postgres://me:hunter2@db:5433/edge", "user=me password='hun ter2' host=db port=5433 dbname=edge"];
        for text in forms {
            let url = parsed(text);
            assert_eq!(url.to_string(), "me@db:5433/edge");
            assert_eq!(format!("{url:?}"), "DatabaseUrl(me@db:5433/edge)");
        }
        for wrong in [
            "postgres://me:hunter2@db/edge?sslmode=hunter2",
            "postgres://me:hunter2@db/edge?hunter2=x",
            "host=db password=a hunter2=b",
            "host=db password='hunter2",
            "postgres://me:hunter2@db:hunter2/edge",
            "hunter2",
            "postgres://me:a@hunter2@db/edge",
            "postgres://me:a@hunter2/x@db/edge",
            "postgres://me:a@hunter2?x=y@db/edge",
            "postgres://me:a@b/hunter2@db/edge",
            "postgresql://me:a@b?hunter2=@db/edge",
        ] {
            let error = DatabaseUrl::parse(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{wrong}: {error}");
        }
    }

    #[test]
    fn encryption_is_what_sslmode_says() {
        let of = |query: &str| parsed(&format!("postgres://db/edge{query}"));
        assert_eq!(of("").encryption(), Encryption::Preferred);
        assert_eq!(of("?sslmode=disable").encryption(), Encryption::Disabled);
        assert_eq!(of("?sslmode=require").encryption(), Encryption::Required);
        assert_eq!(of("?sslmode=verify-ca&application_name=x").encryption(), Encryption::SignedByTrusted);
        let full = of("?application_name=x&sslrootcert=%2Fetc%2Fca.pem&sslmode=verify-full");
        assert_eq!(full.encryption(), Encryption::Verified);
        assert_eq!(full.trusted(), &Trusted::File("/etc/ca.pem".into()));
        assert_eq!(full.targets()[0].get_application_name(), Some("x"));
        assert_eq!(full.targets()[0].get_ssl_mode(), SslMode::Require);
        assert_eq!(of("?sslrootcert=system").encryption(), Encryption::Verified);
        let pairs = parsed("host=db sslmode = verify-full sslrootcert='/etc/my ca.pem'");
        assert_eq!(pairs.encryption(), Encryption::Verified);
        assert_eq!(pairs.trusted(), &Trusted::File("/etc/my ca.pem".into()));
    }

    #[test]
    fn every_host_is_a_target_that_takes_writes() {
        let url = parsed("postgres://me@one:1,two:2/edge?connect_timeout=7");
        assert_eq!(url.to_string(), "me@one:1,two:2/edge");
        for target in url.targets() {
            assert_eq!(target.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert_eq!(target.get_connect_timeout(), Some(&Duration::from_secs(7)));
            assert_eq!(target.get_tcp_user_timeout(), Some(&USER_TIMEOUT));
            assert_eq!(target.get_application_name(), Some("chroma-edge"));
        }
        let any = parsed("postgres://one/edge?target_session_attrs=any");
        assert_eq!(any.targets()[0].get_target_session_attrs(), TargetSessionAttrs::Any);
        assert!(DatabaseUrl::parse("postgres:///edge").is_err());
        assert!(DatabaseUrl::parse("host=a,b port=1,2,3").is_err());
    }
}
