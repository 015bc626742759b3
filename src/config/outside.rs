//! The edge's surroundings: ids that clients send, proxies in front of it, pages of other origins, and the webhook.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};
use ipnet::IpNet;

use super::check::readable;
use super::mistake::{Ledger, Location};
use super::section::{Located, Section};
use super::settings::WebhookConfig;
use crate::events::{NAMES, Secret, WebhookOptions};
use crate::instance::{TargetUrl, Tls};
use crate::proxy::ClientRate;
use crate::web::{HostPattern, Hosts, KeyHeaders, Origins, idempotency_key};

/// Not posted by default: there is one such event for every successful write.
const COMPLETED: &str = "transaction:completed";

pub(super) fn trusted_proxies(edge: &Section<'_>) -> Vec<IpNet> {
    edge.parsed("trusted_proxies", &[], |text| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map_err(|_| format!("{text:?} is not an address or a network such as 10.0.0.0/8"))
    })
}

/// Headers that cannot carry an idempotency key: many requests share their values.
const NO_IDS: [&str; 4] = ["host", "content-length", "content-type", "authorization"];

/// Reads which headers carry an id, and how long a cleanup keeps ids that a client may repeat.
pub(super) fn idempotency(edge: &Section<'_>) -> (KeyHeaders, Duration) {
    let section = edge.section("idempotency");
    let names = section.parsed("headers", &idempotency_key::DEFAULT_HEADERS, |text| {
        let name = HeaderName::try_from(text).map_err(|_| format!("{text:?} is not the name of a header"))?;
        if NO_IDS.contains(&name.as_str()) { Err(format!("{text:?} cannot bring an id")) } else { Ok(name) }
    });
    let keep = section.duration("keep", Duration::from_secs(3600), Duration::ZERO..=Duration::from_secs(7 * 86_400));
    section.finish();
    (KeyHeaders::new(names), keep)
}

/// Reads the keys of `limits` on the request rate of one client.
pub(super) fn client_rate(section: &Section<'_>) -> Option<ClientRate> {
    let per_second = section.count("client_rate", 0, 0..=1_000_000);
    let window = section.duration(
        "client_rate_window",
        Duration::from_secs(10),
        Duration::from_secs(1)..=Duration::from_secs(600),
    );
    let per_second = u32::try_from(per_second).ok().and_then(NonZeroU32::new)?;
    Some(ClientRate { per_second, window })
}

pub(super) fn origins(edge: &Section<'_>) -> Origins {
    let section = edge.section("cors");
    let origins = section.parsed("origins", &[], |text| if text == "*" { Ok(text.to_owned()) } else { origin(text) });
    section.finish();
    if origins.iter().any(|origin| origin == "*") {
        return Origins::Any;
    }
    if origins.is_empty() { Origins::None } else { Origins::These(origins) }
}

/// Reads the host names that the edge answers to; `*` is any name.
pub(super) fn hosts(edge: &Section<'_>) -> Hosts {
    let names = edge.parsed("hosts", &[], |text| match text {
        "*" => Ok(None),
        _ => HostPattern::parse(text)
            .map(Some)
            .ok_or_else(|| format!("{text:?} is not a name such as edge.example.com or *.example.com, or *")),
    });
    names.into_iter().collect::<Option<Vec<_>>>().map_or(Hosts::Any, Hosts::These)
}

/// Normalizes an origin to the spelling that browsers use, without the scheme's default port.
fn origin(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not an origin such as https://app.example or http://localhost:3000, or *");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
    let bare = format!("{scheme}://{authority}");
    if !text.eq_ignore_ascii_case(&bare) || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(wrong()),
    };
    Ok(bare.strip_suffix(default).unwrap_or(&bare).to_ascii_lowercase())
}

pub(super) fn webhook(edge: &Section<'_>, ledger: &Ledger) -> Option<WebhookConfig> {
    let notify = edge.section("notify");
    let given = notify.is_given("webhook");
    let section = notify.section("webhook");
    let config = if given { read_webhook(&section, notify.place("webhook"), ledger) } else { None };
    section.finish();
    notify.finish();
    config
}

fn read_webhook(section: &Section<'_>, place: Location, ledger: &Ledger) -> Option<WebhookConfig> {
    let url = section.required("url", place, |text| TargetUrl::parse(text).map_err(|error| error.to_string()));
    let tls = url.as_ref().map_or(Tls::Yes, |url| url.value.tls());
    let ca_file = ca_file(section, ("url", tls), place, ledger);
    let secret = secret(section, place, ledger);
    let timeout = section.duration("timeout", Duration::from_secs(10), Duration::from_millis(100)..=MINUTE);
    let mut events = section.parsed("events", &[], event_name);
    if events.is_empty() {
        events = NAMES.into_iter().filter(|name| *name != COMPLETED).collect();
    }
    let options = WebhookOptions { secret: secret?, events, timeout };
    Some(WebhookConfig { url: url?.value, ca_file, options })
}

/// Reads the certificate authority for the address under the key `of`.
pub(super) fn ca_file(
    section: &Section<'_>,
    (of, tls): (&str, Tls),
    place: Location,
    ledger: &Ledger,
) -> Option<PathBuf> {
    let file = section.optional("ca_file", |text| Ok(PathBuf::from(text)))?;
    let place = file.place.unwrap_or(place);
    if tls == Tls::No {
        ledger.report(place, format!("ca_file requires an https:// {of}"));
    } else if let Err(error) = readable(&file.value) {
        ledger.report(place, format!("ca_file {} cannot be read: {error}", file.value.display()));
    }
    Some(file.value)
}

const MINUTE: Duration = Duration::from_secs(60);

fn event_name(text: &str) -> Result<&'static str, String> {
    let found = NAMES.into_iter().find(|name| *name == text || name.strip_prefix("transaction:") == Some(text));
    found.ok_or_else(|| format!("{text:?} is no event; there are {}", NAMES.join(", ")))
}

/// Reads the secret from the configuration or from a separate file, which can have stricter permissions. No message
/// repeats it.
fn secret(section: &Section<'_>, place: Location, ledger: &Ledger) -> Option<Secret> {
    let direct = section.optional("secret", |text| long_enough(text.to_owned()));
    let from_file = section.optional("secret_file", |path| {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
        long_enough(text.trim_end_matches(['\r', '\n']).to_owned())
    });
    match (direct, from_file) {
        (Some(Located { value, .. }), None) | (None, Some(Located { value, .. })) => Some(value),
        (Some(_), Some(second)) => {
            ledger.report(second.place.unwrap_or(place), "set either secret or secret_file, not both");
            None
        }
        (None, None) => {
            if !section.is_given("secret") && !section.is_given("secret_file") {
                ledger.report(place, "edge.notify.webhook needs a secret, or a secret_file that holds one");
            }
            None
        }
    }
}

fn long_enough(text: String) -> Result<Secret, String> {
    if text.len() < Secret::SHORTEST {
        return Err(format!("a secret has at least {} bytes", Secret::SHORTEST));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_spelled_as_browsers_do() {
        for (text, expected) in [
            ("https://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:80", "http://localhost"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["app.example", "https://app.example/", "https://a/b", "https://u@a", "null", "ftp://a", ""] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_is_named_with_or_without_its_kind() {
        assert_eq!(event_name("recovered"), Ok("transaction:recovered"));
        assert_eq!(event_name("transaction:recovered"), Ok("transaction:recovered"));
        assert!(event_name("failed").is_err() && event_name("").is_err());
    }
}
