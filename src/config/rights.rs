//! Whether other users of this machine can read the configuration file or the journal.

use std::path::Path;

use super::file::Notice;
use super::settings::{Config, JournalStore};

/// Returns a warning for each file that other users can read.
pub(super) fn notices(file: Option<&Path>, config: &Config) -> Vec<Notice> {
    let journal = match &config.journal.store {
        JournalStore::Sqlite { path } => Some(path.as_path()),
        JournalStore::Postgres { .. } => None,
    };
    let file = file.filter(|_| holds_secrets(config));
    let both =
        [("configuration file", file, "secrets, or who may do what"), ("journal", journal, "what clients wrote")];
    let open =
        both.into_iter().filter_map(|(what, path, holds)| Some((what, path.filter(|path| is_open(path))?, holds)));
    open.map(|(what, path, holds)| {
        let path = path.display();
        Notice(format!("others on this machine may read the {what} {path}, which holds {holds}: chmod o-r {path}"))
    })
    .collect()
}

fn holds_secrets(config: &Config) -> bool {
    config.webhook.is_some()
        || config.traces.as_ref().is_some_and(|traces| !traces.headers.is_empty())
        || config.proxy.entrance.gate.asks()
        || matches!(&config.journal.store, JournalStore::Postgres { url } if url.has_password())
        || config.instances.iter().any(|instance| !instance.headers.is_empty())
}

/// Returns whether other users can read the file and enter its folder.
#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let allows = |path: &Path, bit: u32| std::fs::metadata(path).is_ok_and(|found| found.mode() & bit != 0);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    allows(path, 0o004) && allows(folder, 0o001)
}

#[cfg(not(unix))]
fn is_open(_path: &Path) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::{TWO, with};
    use super::*;

    #[test]
    fn an_address_without_a_password_is_no_secret() {
        for (url, expected) in [("postgres://edge@db/journal", false), ("postgres://edge:word@db/journal", true)] {
            let config = with(&format!("{TWO}  journal: {{ postgres: \"{url}\" }}\n"), &[]).unwrap();
            assert_eq!(holds_secrets(&config), expected, "{url}");
        }
    }

    #[test]
    fn a_file_is_open_if_it_and_its_folder_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.yaml");
        std::fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        for (folder, mode, expected) in [(0o755, 0o644, true), (0o755, 0o640, false), (0o700, 0o644, false)] {
            set(dir.path(), folder);
            set(&file, mode);
            assert_eq!(is_open(&file), expected, "{folder:o} {mode:o}");
        }
        assert!(!is_open(&dir.path().join("absent")));
    }
}
