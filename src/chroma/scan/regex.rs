//! The cost of compiling a regular expression on a server: an estimate from its text alone.
//!
//! A server compiles each `$regex` of a condition, and refuses one that grows over 10 MB. One takes at most a third of
//! a second, but hundreds of them occupy a server for minutes. Chroma decides whether an expression is valid.

/// A set of characters, such as `[a-z]`, `.` or `\d`.
const SET: u64 = 30;
/// A set of letters of every script: `\w`, `\p{L}`.
const LETTERS: u64 = 1000;

/// Returns the cost in units of a plain character, which takes about a microsecond.
pub(super) fn cost(pattern: &str) -> u64 {
    let mut groups = vec![Group::default()];
    let mut rest = pattern.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '(' => groups.push(Group::default()),
            ')' => {
                let closed = groups.pop().unwrap_or_default().total();
                match groups.last_mut() {
                    Some(around) => around.push(closed),
                    // One parenthesis too many: Chroma refuses it.
                    None => groups.push(Group { before: closed, last: 0 }),
                }
            }
            '\\' => {
                let escaped = rest.next();
                push(&mut groups, of_escape(escaped));
            }
            '[' => {
                let set = of_set(&mut rest);
                push(&mut groups, set);
            }
            '{' => {
                let times = repetitions(&mut rest);
                if let Some(group) = groups.last_mut() {
                    group.last = group.last.saturating_mul(times.max(1));
                }
            }
            '.' => push(&mut groups, SET),
            _ => push(&mut groups, 1),
        }
    }
    groups.into_iter().fold(0, |sum, group| sum.saturating_add(group.total()))
}

/// The contents of one pair of parentheses.
#[derive(Default)]
struct Group {
    before: u64,
    /// The part to which a repetition that follows applies.
    last: u64,
}

impl Group {
    fn push(&mut self, cost: u64) {
        self.before = self.total();
        self.last = cost;
    }

    fn total(&self) -> u64 {
        self.before.saturating_add(self.last)
    }
}

fn push(groups: &mut [Group], cost: u64) {
    if let Some(group) = groups.last_mut() {
        group.push(cost);
    }
}

fn of_escape(escaped: Option<char>) -> u64 {
    match escaped {
        Some('w' | 'W' | 'p' | 'P') => LETTERS,
        Some('d' | 'D' | 's' | 'S') => SET,
        _ => 1,
    }
}

/// Returns the cost of everything up to the end of a set, including nested sets.
fn of_set(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> u64 {
    let (mut cost, mut depth) = (SET, 1_u32);
    // A bracket that comes first is a member of the set.
    if rest.peek() == Some(&'^') {
        rest.next();
    }
    if rest.peek() == Some(&']') {
        rest.next();
    }
    while let Some(next) = rest.next() {
        match next {
            '\\' => cost = cost.saturating_add(of_escape(rest.next())),
            '[' => depth += 1,
            ']' if depth == 1 => break,
            ']' => depth -= 1,
            _ => cost = cost.saturating_add(1),
        }
    }
    cost
}

/// Returns the highest number in `{n}`, `{n,}` or `{n,m}`. Without a number, the brace is an ordinary character.
fn repetitions(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> u64 {
    let (mut most, mut number) = (0, 0_u64);
    while let Some(next) = rest.next_if(|next| next.is_ascii_digit() || matches!(next, ',' | ' ')) {
        match next.to_digit(10) {
            Some(digit) => number = number.saturating_mul(10).saturating_add(u64::from(digit)),
            None => number = 0,
        }
        most = most.max(number);
    }
    rest.next_if_eq(&'}');
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_counts_as_often() {
        for (pattern, expected) in [
            ("", 0),
            ("abc", 3),
            ("a{1000}", 1000),
            ("(a{1000}){1000}", 1_000_000),
            ("x(ab|c){3,10}y", 2 + 40),
            (r"\w{100}", 100_000),
            (r"\w+\s*", 1000 + 30 + 2),
            (r"\p{L}{2}", 1000 + 1 + 4),
            (".{1000}", 30_000),
            (r"[^\]a-z]{10}", 340),
            ("[]a]", 31),
            (r"[[:alpha:]\w]{2}", 2 * (30 + 7 + 1000)),
            (r"\\w", 2),
            (r"\(a\){7}", 2 + 7),
            ("a{,5}", 5),
            ("(?:a{10}){10}", 100),
        ] {
            let found = cost(pattern);
            println!("{pattern} {found}");
            assert!(found.abs_diff(expected) <= 20, "{pattern}: {found}, not {expected}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for pattern in
            [")", "(((", "{5}", "[", "[^", "a{", "a{99999999999999999999}{99999999999999999999}", "\\", "[[["]
        {
            cost(pattern);
        }
        assert_eq!(cost("(\\w{999999999}){999999999}{999999999}"), u64::MAX);
    }
}
