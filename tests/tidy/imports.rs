//! Imports between files: resolves the paths in each production file of `src/` to the file that defines their target.
//! Judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::source::{File, rust_files, tokens};

/// A path that a file names, as written but with `self` and `super` resolved, and the file where it ends.
pub struct Import {
    pub from: String,
    pub path: Vec<String>,
    /// The file that defines it. `None` if it belongs to another crate.
    pub to: Option<String>,
    /// Whether it is a re-export, which the file need not use itself.
    pub offered: bool,
}

#[derive(Default)]
struct Module {
    file: String,
    /// The path of this module from the crate's root.
    name: Vec<String>,
    children: BTreeSet<String>,
    /// What `use` brings into scope: its name here, the path, and whether it is re-exported.
    uses: Vec<(String, Vec<String>, bool)>,
    /// Paths of two or more segments in the code outside `use`.
    paths: BTreeSet<Vec<String>>,
    defined: BTreeSet<String>,
}

pub struct Crate {
    modules: BTreeMap<Vec<String>, Module>,
}

impl Crate {
    /// Returns the module tree of `src/`, without modules that only tests compile.
    pub fn of_source() -> &'static Self {
        static TREE: LazyLock<Crate> = LazyLock::new(|| {
            let mut tree = Crate { modules: BTreeMap::new() };
            let source: Vec<&File> = rust_files().iter().filter(|file| file.path.starts_with("src/")).collect();
            tree.add(&source, "src/lib.rs", Vec::new());
            tree
        });
        &TREE
    }

    fn add(&mut self, files: &[&File], path: &str, name: Vec<String>) {
        let Some(file) = files.iter().find(|file| file.path == path) else { return };
        let mut module = Module { file: path.to_owned(), name: name.clone(), ..Module::default() };
        read_tokens(&tokens(&file.production), &mut module);
        let folder = match path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs")) => folder.to_owned(),
            _ => path.trim_end_matches(".rs").to_owned(),
        };
        for child in module.children.clone() {
            let places = [format!("{folder}/{child}.rs"), format!("{folder}/{child}/mod.rs")];
            if let Some(place) = places.iter().find(|place| files.iter().any(|file| file.path == **place)) {
                self.add(files, place, [name.clone(), vec![child]].concat());
            }
        }
        self.modules.insert(name, module);
    }

    pub fn production_files(&self) -> BTreeSet<String> {
        self.modules.values().map(|module| module.file.clone()).collect()
    }

    pub fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for module in self.modules.values() {
            let facade = module.file.ends_with("/mod.rs");
            for (_, path, offered) in &module.uses {
                found.push(self.import(module, path, *offered && facade));
            }
            found.extend(module.paths.iter().map(|path| self.import(module, path, false)));
        }
        found
    }

    fn import(&self, module: &Module, path: &[String], offered: bool) -> Import {
        let to = self.resolve(&module.name, path, 0).map(|(file, _)| file);
        Import { from: module.file.clone(), path: absolute(&module.name, path), to, offered }
    }

    /// Returns the file in which a path ends, and the module if the path names one.
    fn resolve(&self, here: &[String], path: &[String], depth: usize) -> Option<(String, Option<Vec<String>>)> {
        if depth > 12 {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let mut rest = rest;
        let mut module = match first.as_str() {
            "crate" => self.modules.get(&Vec::new())?,
            "self" => self.modules.get(here)?,
            "super" => self.modules.get(&here[..here.len().checked_sub(1)?])?,
            _ => {
                let module = self.modules.get(here)?;
                rest = path;
                if !module.children.contains(first) && !module.uses.iter().any(|(name, ..)| name == first) {
                    return None;
                }
                module
            }
        };
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                module = self.modules.get(&module.name[..module.name.len().checked_sub(1)?])?;
            } else if let Some(child) = self.modules.get(&[module.name.clone(), vec![next.clone()]].concat()) {
                module = child;
            } else if next == "self" {
            } else {
                return self.item(module, next, after, depth);
            }
            rest = after;
        }
        Some((module.file.clone(), Some(module.name.clone())))
    }

    /// Resolves a name that is not a child module: an import of the module, or an item of its own.
    fn item(
        &self,
        module: &Module,
        name: &str,
        after: &[String],
        depth: usize,
    ) -> Option<(String, Option<Vec<String>>)> {
        if module.defined.contains(name) {
            return Some((module.file.clone(), None));
        }
        if let Some((_, path, _)) = module.uses.iter().find(|(alias, ..)| alias == name) {
            let (file, target) = self.resolve(&module.name, path, depth + 1)?;
            return match target {
                Some(target) if !after.is_empty() => {
                    self.resolve(&target, &[vec!["self".to_owned()], after.to_vec()].concat(), depth + 1)
                }
                target => Some((file, target)),
            };
        }
        let globs = module.uses.iter().filter(|(alias, ..)| alias == "*");
        let through = globs.filter_map(|(_, path, _)| self.resolve(&module.name, path, depth + 1)?.1);
        let found = through.filter_map(|target| self.modules.get(&target)).find(|target| {
            target.defined.contains(name) || target.uses.iter().any(|(alias, _, offered)| *offered && alias == name)
        });
        match found {
            Some(target) if target.name != module.name => self.item(target, name, after, depth + 1),
            _ => Some((module.file.clone(), None)),
        }
    }
}

/// Returns the path from the crate's root if it starts with `self`, `super` or `crate`; otherwise returns it unchanged.
fn absolute(here: &[String], path: &[String]) -> Vec<String> {
    let mut base = here.to_vec();
    for (at, segment) in path.iter().enumerate() {
        match segment.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ if at == 0 => return path.to_vec(),
            _ => return [vec!["crate".to_owned()], base, path[at..].to_vec()].concat(),
        }
    }
    [vec!["crate".to_owned()], base].concat()
}

fn read_tokens(tokens: &[&str], module: &mut Module) {
    let mut at = 0;
    while at < tokens.len() {
        let previous = at.checked_sub(1).map_or("", |before| tokens[before]);
        match tokens[at] {
            "use" if tokens.get(at + 1) != Some(&"<") => {
                let offered = previous == "pub" || previous == ")";
                at = read_use(tokens, at + 1, &mut Vec::new(), offered, module);
            }
            "mod" if tokens.get(at + 2) == Some(&";") => {
                module.children.insert(tokens[at + 1].to_owned());
            }
            "fn" | "struct" | "enum" | "trait" | "const" | "type" | "static" | "union" => {
                if let Some(name) = tokens.get(at + 1) {
                    module.defined.insert((*name).to_owned());
                }
            }
            word if is_word(word) && tokens.get(at + 1) == Some(&"::") && previous != "::" => {
                // `pub(in a::b)` restricts who may use an item. It names nothing that the file needs.
                let visibility = tokens[..at].ends_with(&["pub", "(", "in"]);
                let mut path = vec![word.to_owned()];
                while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|next| is_word(next)) {
                    path.push(tokens[at + 2].to_owned());
                    at += 2;
                }
                if !visibility {
                    module.paths.insert(path);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Reads one tree of a `use` from `at`. Returns where it ends (at `,`, `}` or `;`).
fn read_use(tokens: &[&str], mut at: usize, path: &mut Vec<String>, offered: bool, module: &mut Module) -> usize {
    let depth = path.len();
    let mut alias = None;
    while at < tokens.len() {
        match tokens[at] {
            "{" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = read_use(tokens, at, path, offered, module);
                    if tokens.get(at) == Some(&",") {
                        at += 1;
                    }
                }
                path.truncate(depth);
                return at + 1;
            }
            "as" => {
                alias = tokens.get(at + 1).map(|name| (*name).to_owned());
                at += 1;
            }
            "," | "}" | ";" => break,
            "::" => {}
            "*" => alias = Some("*".to_owned()),
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    let name = alias.or_else(|| path.last().cloned()).unwrap_or_default();
    module.uses.push((name, path.clone(), offered));
    path.truncate(depth);
    at
}
