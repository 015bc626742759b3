//! The files in `deploy/` start the edge that they promise: their variables and configurations through the real binary,
//! and addresses of services that exist. How Docker, systemd and Debian use them is not tested here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use testkit::place;

fn read(path: &str) -> String {
    std::fs::read_to_string(place::repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    yaml_serde::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns what `check` prints for a configuration that it accepts.
#[track_caller]
fn accepted(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(place::binary());
    command.env_clear().arg("check").args(arguments).envs(variables.iter().copied());
    let output = command.output().expect("the program");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

#[test]
fn the_compose_file_starts_an_edge_before_servers_that_it_has() {
    let compose = yaml("deploy/compose.yaml");
    let services = compose["services"].as_object().expect("services");
    let secret = |text: &str| text.replace("${POSTGRES_PASSWORD:?set a password for the journal}", "secret");
    let variables = services["edge"]["environment"].as_object().expect("variables");
    let variables: Vec<(&str, String)> =
        variables.iter().map(|(name, value)| (name.as_str(), secret(value.as_str().expect("text")))).collect();
    let borrowed: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let shown = accepted(&[], &borrowed);
    let has = |key: &str, value: &str| shown.lines().any(|line| line.split_whitespace().eq([key, value]));
    assert!(has("listen", "0.0.0.0:8000") && has("log_format", "json"), "{shown}");
    for (name, value) in &variables {
        if let Some((_, host)) = value.rsplit_once("@").or_else(|| value.split_once("://")) {
            let (host, port) = host.split_once(':').expect("a port");
            let port: u16 = port.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
            let service = services.get(host).unwrap_or_else(|| panic!("{name}: no service {host}"));
            let image = service["image"].as_str().unwrap_or_default();
            let listens = if image.starts_with("postgres:") { 5432 } else { 8000 };
            assert_eq!(port, listens, "{name}: {image}");
        }
    }
    let (database, user) = (&services["postgres"]["environment"]["POSTGRES_DB"], "postgres://edge:secret@");
    let url = borrowed.iter().find(|(name, _)| *name == "DATABASE_URL").expect("a journal").1;
    assert!(url.starts_with(user) && url.contains(&format!("/{}?", database.as_str().unwrap_or_default())), "{url}");
    let mounts = services["prometheus"]["volumes"].as_array().expect("volumes");
    for mount in mounts.iter().filter_map(Value::as_str).filter(|mount| mount.starts_with("./")) {
        let path = mount.split(':').next().unwrap_or_default();
        assert!(place::repository().join("deploy").join(path).is_file(), "{mount}");
    }
    let scraped = &yaml("deploy/prometheus/prometheus.yml")["scrape_configs"][0];
    assert_eq!(scraped["static_configs"][0]["targets"], json!(["edge:8000"]));
    assert_eq!(scraped["honor_labels"], true);
}

/// Returns what the Debian package installs: files of the repository, where, and with which permissions.
fn debian_assets() -> Vec<Vec<String>> {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[package.metadata.deb]").nth(1).and_then(|rest| rest.split("\n[lints").next());
    let assets = section.expect("the package").split("assets = [").nth(1).expect("assets");
    let rows = assets.lines().filter(|line| line.trim_start().starts_with("[\""));
    rows.map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}

/// Returns the documents of the repository that the Debian package installs, by path.
fn installed_documents() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for asset in debian_assets().iter().filter(|asset| asset[1].starts_with(DOCUMENTS)) {
        let source = PathBuf::from(&asset[0]);
        let folder = source.parent().expect("a folder");
        match asset[0].strip_suffix("*.md") {
            None => drop(found.insert(source)),
            Some(_) => {
                let entries = place::repository().join(folder).read_dir().expect("a folder");
                let names = entries.map(|entry| entry.expect("a file").file_name());
                let names = names.filter(|name| name.to_string_lossy().ends_with(".md"));
                found.extend(names.map(|name| folder.join(name)));
            }
        }
    }
    found
}

const DOCUMENTS: &str = "usr/share/doc/chroma-edge/";

#[test]
fn the_documents_in_the_debian_package_link_to_each_other() {
    let installed = installed_documents();
    assert!(installed.len() > 50, "{installed:?}");
    for asset in debian_assets().iter().filter(|asset| asset[0].ends_with(".md")) {
        let folder = Path::new(&asset[0]).parent().expect("a folder").join("");
        assert_eq!(Path::new(&asset[1]), Path::new(DOCUMENTS).join(folder), "in the folder that it has here");
    }
    for document in installed.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = read(document.to_str().expect("text"));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://") && !link.contains(' ')) {
            let mut path = document.parent().expect("a folder").to_path_buf();
            for part in link.split('/') {
                match part {
                    ".." => assert!(path.pop(), "{link}"),
                    part => path.push(part),
                }
            }
            let is_there = installed.iter().any(|one| one.starts_with(&path));
            assert!(is_there, "{}: {link} is not in the package", document.display());
        }
    }
}

#[test]
fn the_debian_package_installs_what_exists_and_its_configuration_is_accepted() {
    let assets = debian_assets();
    assert!(assets.len() > 5, "{assets:?}");
    for asset in &assets {
        let path = place::repository().join(asset[0].trim_end_matches("*.md"));
        assert!(asset[0].starts_with("target/") || path.exists(), "{asset:?}");
    }
    let configuration = place::repository().join("deploy/debian/config.yaml");
    let shown = accepted(&["--conf", configuration.to_str().expect("text")], &[]);
    assert!(shown.contains("/var/lib/chroma-edge/journal.db"), "{shown}");
    let unit = read("deploy/systemd/chroma-edge.service");
    for path in unit.lines().filter(|line| line.starts_with("ExecStart")).flat_map(|line| line.split([' ', '='])) {
        let installed = |asset: &Vec<String>| {
            let file = asset[0].rsplit('/').next().unwrap_or_default();
            let to = if asset[1].ends_with('/') { format!("/{}{file}", asset[1]) } else { format!("/{}", asset[1]) };
            to == path
        };
        assert!(!path.starts_with('/') || assets.iter().any(installed), "{path} is not in the package");
    }
}

/// A limit of 0 leaves core dumps to the program that they are piped to, and keeps the edge from setting the other
/// limit itself.
#[test]
fn the_unit_forbids_core_dumps_altogether() {
    let unit = read("deploy/systemd/chroma-edge.service");
    let limits: Vec<&str> = unit.lines().filter(|line| line.starts_with("LimitCORE=")).collect();
    assert_eq!(limits, ["LimitCORE=1"]);
}

/// Only if systemd is installed.
#[test]
fn systemd_accepts_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: no systemd-analyze");
        return;
    }
    // The binary is where the package puts it only on a machine that has the package.
    let folder = place::data_dir("unit");
    let unit = read("deploy/systemd/chroma-edge.service").replace("/usr/bin/chroma-edge", "/bin/true");
    let path = folder.path().join("chroma-edge.service");
    std::fs::write(&path, unit).expect("the unit");
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().expect("systemd");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let about_it: Vec<&str> = said.lines().filter(|line| line.contains("chroma-edge")).collect();
    assert!(output.status.success() && about_it.is_empty(), "{said}");
}
