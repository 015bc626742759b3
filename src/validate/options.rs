//! The operator's options, validated: every mistake is found before anything is sent.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::{self, Check};
use super::client::BaseUrl;
use super::run::DirectAddress;

/// The longest duration of any option.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The format of a report file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Where to write the report, besides standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub path: PathBuf,
    pub format: Format,
}

/// The arguments of the command line.
#[derive(Clone, Debug, Default)]
pub struct Words {
    pub url: String,
    pub token: Option<String>,
    pub tenant: String,
    pub database: String,
    pub only: Vec<String>,
    pub output: Option<PathBuf>,
    pub instances: Vec<String>,
    pub limit: Duration,
    pub patience: Duration,
    pub guided: Option<String>,
    pub wait: Duration,
}

/// What to do.
#[derive(Clone)]
pub enum Task {
    Checks(Vec<Check>),
    /// Guide an operator through an outage of this instance: `primary`, `replica`, or a name.
    Guided {
        instance: String,
        wait: Duration,
    },
}

/// The parsed options.
#[derive(Clone)]
pub struct Options {
    pub url: BaseUrl,
    pub token: Option<String>,
    pub tenant: String,
    pub database: String,
    pub instances: Vec<DirectAddress>,
    pub output: Option<Output>,
    pub limit: Duration,
    /// How long, in one check as a whole, instances may take to become equal, and marks to become visible.
    pub patience: Duration,
    pub task: Task,
}

impl Options {
    /// Parses the arguments; the error is meant for the operator.
    pub fn from_words(words: Words) -> Result<Options, String> {
        let names: Vec<String> = list(&words.only);
        let chosen = checks::named(&names)
            .map_err(|unknown| format!("there is no check {unknown:?}; the checks are:\n{}", described()))?;
        let task = match words.guided {
            None => Task::Checks(chosen),
            Some(_) if !names.is_empty() => return Err("--guided has steps of its own: without --only".to_owned()),
            Some(instance) => Task::Guided { instance, wait: words.wait },
        };
        for (option, span) in [("--limit", words.limit), ("--wait", words.wait), ("--patience", words.patience)] {
            if span > LONGEST {
                return Err(format!("{option} is at most {} seconds, which are 7 days", LONGEST.as_secs()));
            }
        }
        if words.limit.is_zero() || words.wait.is_zero() {
            return Err("a limit of 0 seconds leaves no time for anything".to_owned());
        }
        Ok(Options {
            url: BaseUrl::parse(&words.url)?,
            token: words.token.filter(|token| !token.is_empty()).map(token).transpose()?,
            tenant: words.tenant,
            database: words.database,
            instances: addresses(&words.instances)?,
            output: words.output.map(output).transpose()?,
            limit: words.limit,
            patience: words.patience,
            task,
        })
    }
}

/// Accepts only what a header can contain. The error does not repeat the token.
fn token(token: String) -> Result<String, String> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    Err("a token has visible ASCII characters only, and no blanks: see --token, or CHROMA_EDGE_TOKEN".to_owned())
}

/// Splits values, which may be repeated or separated by commas.
fn list(values: &[String]) -> Vec<String> {
    values
        .iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Parses one address per instance. All must differ: an instance compared with itself would be equal.
fn addresses(values: &[String]) -> Result<Vec<DirectAddress>, String> {
    let all: Vec<DirectAddress> = list(values).iter().map(|one| direct(one)).collect::<Result<_, _>>()?;
    for (n, one) in all.iter().enumerate() {
        let earlier = &all[..n];
        if earlier.iter().any(|other| other.name == one.name) {
            return Err(format!("--instances has {:?} twice", one.name));
        }
        if let Some(other) = earlier.iter().find(|other| other.url.is_same(&one.url)) {
            return Err(format!("--instances has {} for {} and for {}", one.url, other.name, one.name));
        }
    }
    Ok(all)
}

fn direct(text: &str) -> Result<DirectAddress, String> {
    let (name, url) =
        text.split_once('=').ok_or_else(|| format!("{text:?}: --instances takes NAME=URL, with commas between"))?;
    Ok(DirectAddress { name: name.trim().to_owned(), url: BaseUrl::parse(url.trim())? })
}

fn output(path: PathBuf) -> Result<Output, String> {
    let format = match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => Format::Json,
        Some("txt") => Format::Text,
        _ => return Err(format!("{}: a report ends in .json or .txt", path.display())),
    };
    Ok(Output { path, format })
}

/// Lists every check, one per line.
pub fn described() -> String {
    checks::ALL.iter().map(|check| format!("  {:<14}{}\n", check.name, check.shows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let second = Duration::from_secs(1);
        Words { url: "http://edge:8000".into(), limit: second, wait: second, ..Words::default() }
    }

    fn mistake(words: Words) -> String {
        Options::from_words(words).err().expect("a mistake")
    }

    #[test]
    fn checks_are_named_once_or_in_a_list_and_keep_their_order() {
        let only = vec!["sync,health".to_owned(), " reads ".to_owned()];
        let Ok(Options { task: Task::Checks(checks), .. }) = Options::from_words(Words { only, ..words() }) else {
            panic!("understood")
        };
        let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        assert_eq!(names, ["health", "reads", "sync"]);
    }

    #[test]
    fn each_mistake_is_told_for_what_it_is() {
        let unknown = mistake(Words { only: vec!["speed".into()], ..words() });
        assert!(unknown.contains("\"speed\"") && unknown.contains("concurrency"), "{unknown}");
        assert!(mistake(Words { instances: vec!["http://a".into()], ..words() }).contains("NAME=URL"));
        assert!(mistake(Words { instances: vec!["a=b".into()], ..words() }).contains("address"));
        let twice = ["a=http://a,a=http://b", "a=http://a:80/,b=http://A"];
        for (text, why) in twice.into_iter().zip(["\"a\" twice", "for a and for b"]) {
            assert!(mistake(Words { instances: vec![text.into()], ..words() }).contains(why), "{text}");
        }
        assert!(mistake(Words { output: Some("report.pdf".into()), ..words() }).contains(".json or .txt"));
        assert!(mistake(Words { limit: Duration::ZERO, ..words() }).contains("0 seconds"));
        let both = Words { guided: Some("primary".into()), only: vec!["sync".into()], ..words() };
        assert!(mistake(both).contains("--only"));
    }
}
