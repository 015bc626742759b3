//! The applications' share of the journal, and how a reload reports files whose content changed.

use std::time::Duration;

use super::tests::{around, mistake, with};
use super::*;

#[test]
fn applications_have_a_part_of_the_journal() {
    let part = |lines: &str| {
        with(&around(lines), &[])
            .map(|config| (config.journal.retention.application_bytes, config.journal.retention.keep_ids))
    };
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(part("").unwrap(), (1_000_000_000, hour));
    assert_eq!(part("  journal: { max_bytes: 2MiB }\n").unwrap().0, 209_715);
    assert_eq!(
        part("  journal: { application_bytes: 1MiB }\n  idempotency: { keep: 2h }\n").unwrap(),
        (1 << 20, hour * 2)
    );
    let too_much = mistake(&around("  journal: { max_bytes: 1MiB, application_bytes: 600KiB }\n"), &[]);
    assert!(too_much.ends_with("application_bytes is at most half of journal.max_bytes"), "{too_much}");
}

#[test]
fn a_client_has_a_share_of_the_part_of_applications() {
    let share = |lines: &str| with(&around(lines), &[]).map(|config| config.journal.retention.application_client_bytes);
    assert_eq!(share("").unwrap(), 500_000_000);
    assert_eq!(share("  journal: { application_bytes: 1MiB }\n").unwrap(), 1 << 19);
    assert_eq!(share("  journal: { application_bytes: 1MiB, application_client_bytes: 1MiB }\n").unwrap(), 1 << 20);
    let too_much = mistake(&around("  journal: { application_bytes: 1MiB, application_client_bytes: 2MiB }\n"), &[]);
    assert!(too_much.ends_with("application_client_bytes is at most journal.application_bytes"), "{too_much}");
}

/// The content of files can change while the configuration's text stays the same.
#[test]
fn a_difference_names_files_that_hold_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let jwt = format!("  auth: {{ jwt: {{ secret: {:?} }} }}\n", format!("file:{}", path("secret").display()));
    write("secret", secret);
    let before = with(&around(&jwt), &[]).unwrap();
    assert!(Difference::between(&before, &with(&around(&jwt), &[]).unwrap()).is_empty());
    write("secret", &secret.replace('0', "x"));
    let difference = Difference::between(&before, &with(&around(&jwt), &[]).unwrap());
    let shown: Vec<_> =
        difference.keys.iter().map(|key| (key.key.as_str(), key.from.as_str(), key.to.as_str())).collect();
    assert_eq!(shown, [("auth.jwt", "secret", "secret")]);
    assert!(!format!("{difference:?}").contains(secret));

    if !cfg!(feature = "tls") {
        return;
    }
    let third = format!("    - {{ name: third, url: 'https://c:3', ca_file: {:?} }}\n", path("ca.pem"));
    write("ca.pem", "one");
    let before = with(&around(&third), &[]).unwrap();
    assert!(Difference::between(&before, &with(&around(&third), &[]).unwrap()).is_empty());
    write("ca.pem", "two");
    let moves = Difference::between(&before, &with(&around(&third), &[]).unwrap()).instances;
    assert_eq!((moves.readdressed.len(), moves.readdressed[0].0.url == moves.readdressed[0].1.url), (1, true));
}
