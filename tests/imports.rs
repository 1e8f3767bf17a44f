//! Who may know whom: the rule of `src/lib.rs` as a table, and a test that holds it.
//!
//! The test reads every path that production code names (`use …` and paths inside of expressions and types), follows
//! re-exports to the file that defines the item, and fails with file and line for
//!
//! - an import that [`RULE`] does not allow,
//! - a cycle between top-level modules,
//! - a cycle between files of one module. A module's own file and the files below it are one thing and may know each
//!   other: the file says what the parts share and puts them together. What counts are cycles between neighbours.
//!
//! Code under `#[cfg(test)]` is left out: tests may know whatever they need. What the workspace's crates may know stands
//! in [`CRATES`] and is compared with their `Cargo.toml`.
//!
//! To allow a new import, think first whether the item belongs further down; then add it to the table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each top-level module, and the modules and workspace crates that it may import. In the order of the tour in
/// `src/lib.rs`: from the ground up.
const RULE: &[(&str, &[&str])] = &[
    ("model", &["crates/outgoing", "crates/finkare"]),
    ("options", &["model"]),
    ("french", &[]),
    ("signature", &["model", "crates/finkare"]),
    ("lifecycle", &["model"]),
    ("listener", &["lifecycle"]),
    ("pressure", &[]),
    ("handover", &["model"]),
    ("store", &["model"]),
    ("telemetry", &["model", "store"]),
    ("secrets", &["model", "signature", "store", "lifecycle"]),
    ("link", &["model", "store", "secrets", "lifecycle", "telemetry", "crates/finkare"]),
    ("activity", &["model", "store", "lifecycle", "telemetry", "crates/finkare"]),
    ("traffic", &["model", "store", "lifecycle", "telemetry"]),
    (
        "ingest",
        &["model", "signature", "store", "secrets", "activity", "lifecycle", "pressure", "handover", "telemetry"],
    ),
    ("sinks", &["model", "options", "french", "signature", "store", "crates/outgoing", "crates/finkare"]),
    ("dispatch", &["model", "store", "sinks", "lifecycle", "pressure", "handover", "telemetry", "crates/outgoing"]),
    ("notices", &["model", "store", "ingest", "dispatch", "activity", "lifecycle"]),
    ("resolve", &["model", "store", "sinks", "crates/finkare"]),
    ("statement", &["model", "store", "sinks"]),
    ("reconcile", &["model", "store", "sinks", "ingest", "lifecycle", "resolve", "crates/finkare"]),
    ("replay", &["model", "store", "ingest"]),
    ("bulk", &["model", "store", "replay"]),
    (
        "config",
        &[
            "model",
            "options",
            "signature",
            "ingest",
            "sinks",
            "link",
            "notices",
            "resolve",
            "statement",
            "reconcile",
            "crates/outgoing",
            "crates/finkare",
        ],
    ),
    (
        "web",
        &[
            "model",
            "config",
            "store",
            "secrets",
            "signature",
            "ingest",
            "dispatch",
            "replay",
            "bulk",
            "statement",
            "link",
            "reconcile",
            "activity",
            "lifecycle",
            "listener",
            "telemetry",
            "crates/finkare",
        ],
    ),
    ("dashboard", &["model", "config", "store", "web", "sinks", "ingest", "replay", "statement", "listener", "french"]),
];

/// Modules that may import everything: they put the rest together.
const EVERYTHING: &[&str] = &["service", "cli"];

/// The crates of the workspace, and the crates of the workspace that each may depend on, in `[dependencies]` and
/// `[build-dependencies]`.
const CRATES: &[(&str, &[&str])] = &[
    ("books-simulator", &[]),
    ("finkare-outgoing", &[]),
    ("finkare", &["finkare-outgoing"]),
    ("finkare-simulator", &[]),
    ("finkare-relay", &["books-simulator", "finkare-outgoing", "finkare", "finkare-simulator"]),
    ("finkare-relay-bench", &["finkare-relay"]),
];

/// Cycles between files that are meant, each with its reason.
const CYCLES: &[(&[&str], &str)] = &[];

#[test]
fn nobody_imports_what_the_rule_does_not_allow() {
    let house = House::read();
    let mut wrong = Vec::new();
    let mut told = BTreeSet::new();
    for import in house.imports() {
        let (from, to) = (import.module_of_file(), &import.to_module);
        if from == *to || EVERYTHING.contains(&from) || !told.insert((import.file, to.clone())) {
            continue;
        }
        let allowed = RULE.iter().find(|(module, _)| *module == from).map(|(_, allowed)| *allowed);
        match allowed {
            None => wrong.push(format!("{import}: the rule in tests/imports.rs has no line for `{from}`")),
            Some(allowed) if allowed.contains(&to.as_str()) => {}
            Some(allowed) => {
                wrong.push(format!("{import}: `{from}` may not know `{to}`, only {}", allowed.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the rule:\n{}", wrong.join("\n"));
}

#[test]
fn top_level_modules_form_no_cycle() {
    let house = House::read();
    let mut graph = Graph::default();
    for import in house.imports().filter(|import| !import.to_module.starts_with("crates/")) {
        graph.add(import.module_of_file(), &import.to_module, &import.to_string());
    }
    assert_eq!(graph.cycles().join("\n"), "", "cycles between top-level modules");
}

#[test]
fn files_of_one_module_form_no_cycle() {
    let house = House::read();
    let mut graph = Graph::default();
    for import in house.imports() {
        if let Some(to) = &import.to_file
            && import.module_of_file() == import.to_module
            && !house.is_below(import.file, *to)
            && !house.is_below(*to, import.file)
        {
            graph.add(&house.name(import.file), &house.name(*to), &import.to_string());
        }
    }
    for (cycle, reason) in CYCLES {
        let is_there = cycle.windows(2).all(|pair| graph.has(pair[0], pair[1]));
        assert!(is_there, "remove this line from CYCLES, the cycle is gone: {cycle:?}, because {reason}");
        for pair in cycle.windows(2) {
            graph.remove(pair[0], pair[1]);
        }
    }
    assert_eq!(graph.cycles().join("\n"), "", "cycles between files");
}

#[test]
fn crates_depend_on_no_others_than_the_rule_allows() {
    let mut wrong = Vec::new();
    for (name, manifest) in workspace() {
        let mut found = BTreeSet::new();
        for table in ["dependencies", "build-dependencies"] {
            let dependencies = manifest.get(table).and_then(toml::Value::as_table);
            found.extend(dependencies.into_iter().flat_map(|table| table.keys().cloned()));
        }
        let names: BTreeSet<String> = workspace().into_keys().collect();
        let found: BTreeSet<String> = found.intersection(&names).cloned().collect();
        let Some((_, allowed)) = CRATES.iter().find(|(crate_name, _)| *crate_name == name) else {
            wrong.push(format!("the rule in tests/imports.rs has no line for the crate `{name}`"));
            continue;
        };
        let more = found.iter().filter(|dependency| !allowed.contains(&dependency.as_str()));
        wrong.extend(more.map(|dependency| format!("the crate `{name}` may not depend on `{dependency}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The packages of the workspace by name, with their manifests.
fn workspace() -> BTreeMap<String, toml::Table> {
    let root = root();
    let read = |folder: &Path| -> toml::Table {
        let path = folder.join("Cargo.toml");
        std::fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let whole = read(&root);
    let members = whole["workspace"]["members"].as_array().unwrap().clone();
    let mut folders = vec![root.clone()];
    for member in &members {
        match member.as_str().unwrap().strip_suffix("/*") {
            None => folders.push(root.join(member.as_str().unwrap())),
            Some(parent) => {
                let entries = std::fs::read_dir(root.join(parent)).unwrap().map(|entry| entry.unwrap().path());
                folders.extend(entries.filter(|folder| folder.join("Cargo.toml").exists()));
            }
        }
    }
    let packages = folders.iter().map(|folder| read(folder));
    packages.map(|manifest| (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest)).collect()
}

/// The names by which code names the workspace's crates, each with the name in the table.
fn crate_names() -> BTreeMap<String, String> {
    let own = env!("CARGO_PKG_NAME");
    let others = workspace().into_iter().filter(|(name, _)| name != own);
    others
        .map(|(name, manifest)| {
            let library = manifest.get("lib").and_then(|lib| lib.get("name")).and_then(toml::Value::as_str);
            let library = library.map_or_else(|| name.replace('-', "_"), str::to_owned);
            (library.clone(), format!("crates/{library}"))
        })
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

// --- reading

/// A path as it is written: its segments, the line, and whether a `use` names it.
struct Named {
    segments: Vec<String>,
    line: usize,
    is_use: bool,
}

/// A file of the library.
#[derive(Default)]
struct File {
    path: PathBuf,
    /// Where it stands in the tree of modules: `["store", "sqlite"]`.
    module: Vec<String>,
    /// The modules below it, by name: their files.
    children: BTreeMap<String, usize>,
    /// What its `use`s bring in: the name here, and the path as it is written.
    uses: BTreeMap<String, Vec<String>>,
    named: Vec<Named>,
}

/// All files of the library that are not tests.
struct House {
    files: Vec<File>,
    crates: BTreeMap<String, String>,
}

/// One place where one file names something of another module or file.
struct Import<'a> {
    house: &'a House,
    file: usize,
    line: usize,
    to_module: String,
    /// The file that defines it; `None` for a `use` of a whole module, and for other crates.
    to_file: Option<usize>,
    written: String,
}

impl Import<'_> {
    fn module_of_file(&self) -> &str {
        self.house.files[self.file].module.first().map_or("lib", String::as_str)
    }
}

impl std::fmt::Display for Import<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} names {}", self.house.name(self.file), self.line, self.written)
    }
}

impl House {
    fn read() -> Self {
        let mut house = Self { files: Vec::new(), crates: crate_names() };
        house.add(&root().join("src/lib.rs"), &[]);
        assert!(house.files.len() > 50, "the tree of modules was not read");
        house
    }

    fn add(&mut self, path: &Path, module: &[String]) -> usize {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = Reader::default();
        reader.read(tokens);
        let number = self.files.len();
        let Reader { modules, uses, named } = reader;
        self.files.push(File { path: path.to_owned(), module: module.to_owned(), uses, named, ..File::default() });
        for (name, file) in modules {
            let folder = match path.file_name().and_then(|name| name.to_str()) {
                Some("lib.rs" | "mod.rs") => path.parent().unwrap().to_owned(),
                _ => path.with_extension(""),
            };
            let candidates = match file {
                Some(file) => vec![path.parent().unwrap().join(file)],
                None => vec![folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")],
            };
            let file = candidates.iter().find(|path| path.exists());
            let file = file.unwrap_or_else(|| panic!("no file for `mod {name}` of {}", path.display()));
            let below = [module, std::slice::from_ref(&name)].concat();
            let child = self.add(file, &below);
            self.files[number].children.insert(name, child);
        }
        number
    }

    /// True if the first file's module lies in the second one's.
    fn is_below(&self, file: usize, above: usize) -> bool {
        self.files[file].module.starts_with(&self.files[above].module)
    }

    fn name(&self, file: usize) -> String {
        self.files[file].path.strip_prefix(root()).unwrap().display().to_string()
    }

    fn imports(&self) -> impl Iterator<Item = Import<'_>> {
        (0..self.files.len()).flat_map(move |file| {
            self.files[file].named.iter().filter_map(move |named| {
                let written = named.segments.join("::");
                let absolute = match self.absolute(file, &named.segments, 0)? {
                    Place::Inside(absolute) => absolute,
                    Place::Crate(to_module) => {
                        let line = named.line;
                        return Some(Import { house: self, file, line, to_module, to_file: None, written });
                    }
                };
                let to_module = absolute.first()?.clone();
                let (to_file, is_module) = self.target(&absolute, 0);
                // A `use` of a module alone says nothing: what is taken from it is named where it is used.
                let to_file = Some(to_file).filter(|to| *to != file && !(named.is_use && is_module));
                Some(Import { house: self, file, line: named.line, to_module, to_file, written })
            })
        })
    }

    /// Where a path leads that is written in a file; `None` for what is not of this workspace.
    fn absolute(&self, file: usize, written: &[String], depth: usize) -> Option<Place> {
        let here = &self.files[file];
        let first = written.first()?.as_str();
        let rest = &written[1..];
        let inside = |module: &[String], rest: &[String]| Some(Place::Inside([module, rest].concat()));
        match first {
            "crate" => inside(&[], rest),
            "self" => inside(&here.module, rest),
            "::" => self.crates.get(rest.first()?).map(|name| Place::Crate(name.clone())),
            "super" => {
                let ups = written.iter().take_while(|segment| *segment == "super").count();
                let up = here.module.len().checked_sub(ups)?;
                inside(&here.module[..up], &written[ups..])
            }
            _ if here.children.contains_key(first) => inside(&here.module, written),
            _ if depth > 8 => None,
            _ => match here.uses.get(first) {
                // `use bytes::Bytes` in a file that names `bytes::Buf` too.
                Some(used) if used.first().is_some_and(|used| used == first) && used.len() == 1 => None,
                Some(used) => self.absolute(file, &[used, rest].concat(), depth + 1),
                None => self.crates.get(first).map(|name| Place::Crate(name.clone())),
            },
        }
    }

    /// The file that defines what stands at an absolute path, and whether it is that whole module.
    fn target(&self, absolute: &[String], depth: usize) -> (usize, bool) {
        let mut at = 0;
        for (place, segment) in absolute.iter().enumerate() {
            let file = &self.files[at];
            if let Some(child) = file.children.get(segment) {
                at = *child;
                continue;
            }
            // Brought in from elsewhere: the file over there defines it.
            if depth < 8
                && let Some(used) = file.uses.get(segment)
                && let Some(Place::Inside(onward)) = self.absolute(at, used, depth)
            {
                return self.target(&[&onward[..], &absolute[place + 1..]].concat(), depth + 1);
            }
            return (at, false);
        }
        (at, true)
    }
}

enum Place {
    Inside(Vec<String>),
    Crate(String),
}

/// What one file holds, token by token, without tests.
#[derive(Default)]
struct Reader {
    /// The modules that it declares, with a `#[path]` if there is one.
    modules: Vec<(String, Option<String>)>,
    uses: BTreeMap<String, Vec<String>>,
    named: Vec<Named>,
}

impl Reader {
    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut path_attribute = None;
        while at < tokens.len() {
            if let Some(attribute) = attribute(&tokens[at..]) {
                if is_test(&attribute.stream()) {
                    at = after_item(&tokens, at);
                    continue;
                }
                path_attribute = path_of(&attribute.stream()).or(path_attribute);
                self.read(attribute.stream());
                at += 2;
                continue;
            }
            match &tokens[at] {
                TokenTree::Group(group) => self.read(group.stream()),
                TokenTree::Ident(word) if word == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    let end = (at..tokens.len()).find(|at| is_punct(tokens.get(*at), ';')).unwrap_or(tokens.len());
                    self.read_use(&tokens[at + 1..end], &[]);
                    at = end;
                }
                TokenTree::Ident(word) if word == "mod" && is_punct(tokens.get(at + 2), ';') => {
                    self.modules.push((tokens[at + 1].to_string(), path_attribute.take()));
                    at += 2;
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) if !continues_a_path(&tokens, at) => {
                    let (segments, end) = segments(&tokens, at);
                    if segments.len() > 1 {
                        let line = tokens[at].span().start().line;
                        self.named.push(Named { segments, line, is_use: false });
                        at = end;
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// The leaves of `a::{b, c::d as e}`.
    fn read_use(&mut self, tokens: &[TokenTree], before: &[String]) {
        for leaf in tokens.split(|token| is_punct(Some(token), ',')).filter(|leaf| !leaf.is_empty()) {
            let (own, end) = segments(leaf, 0);
            let mut path = [before, &own].concat();
            if let Some(TokenTree::Group(group)) = leaf.last()
                && group.delimiter() == Delimiter::Brace
            {
                self.read_use(&group.stream().into_iter().collect::<Vec<_>>(), &path);
                continue;
            }
            let line = leaf[0].span().start().line;
            if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                path.pop();
            }
            let renamed = leaf.get(end).filter(|word| word.to_string() == "as").and(leaf.get(end + 1));
            let name = renamed.map(ToString::to_string).or_else(|| path.last().cloned()).unwrap_or_default();
            self.uses.insert(name, path.clone());
            self.named.push(Named { segments: path, line, is_use: true });
        }
    }
}

/// The names of a path that begins here, and where it ends. What begins with `::` is a crate, and has that before it.
fn segments(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    if is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':') {
        segments.push("::".to_owned());
        at += 2;
    }
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string().trim_start_matches("r#").to_owned());
        at += 1;
        if !(is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')) {
            break;
        }
        at += 2;
    }
    (segments, at)
}

/// True if what stands before this token belongs to the same path.
fn continues_a_path(tokens: &[TokenTree], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).and_then(|at| tokens.get(at)) else { return false };
    match &tokens[at] {
        TokenTree::Ident(_) => {
            is_punct(Some(before), ':') && is_punct(at.checked_sub(2).and_then(|at| tokens.get(at)), ':')
        }
        _ => matches!(before, TokenTree::Ident(_)) || is_punct(Some(before), '>') || is_punct(Some(before), ':'),
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// The brackets of the attribute that begins here.
fn attribute(tokens: &[TokenTree]) -> Option<proc_macro2::Group> {
    match tokens {
        [hash, TokenTree::Group(group), ..] if is_punct(Some(hash), '#') && group.delimiter() == Delimiter::Bracket => {
            Some(group.clone())
        }
        _ => None,
    }
}

/// True for `cfg(test)`.
fn is_test(attribute: &TokenStream) -> bool {
    attribute.to_string().replace(' ', "") == "cfg(test)"
}

/// What `#[path = "…"]` says.
fn path_of(attribute: &TokenStream) -> Option<String> {
    let text = attribute.to_string();
    let file = text.strip_prefix("path")?.trim_start().strip_prefix('=')?;
    Some(file.trim().trim_matches('"').to_owned())
}

/// Where an item ends that begins with attributes: after its braces, or after `;`; a field or an arm ends with a comma.
fn after_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while attribute(&tokens[at..]).is_some() {
        at += 2;
    }
    let items = ["pub", "fn", "mod", "use", "impl", "struct", "enum", "trait", "type", "const", "static", "async"];
    let is_item = tokens.get(at).is_some_and(|token| items.contains(&token.to_string().as_str()));
    for (place, token) in tokens.iter().enumerate().skip(at) {
        let ends = match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == ';' || (!is_item && punct.as_char() == ','),
            _ => false,
        };
        if ends {
            return place + 1;
        }
    }
    tokens.len()
}

// --- cycles

/// Who names whom, with one place for each.
#[derive(Default)]
struct Graph(BTreeMap<String, BTreeMap<String, String>>);

impl Graph {
    fn add(&mut self, from: &str, to: &str, place: &str) {
        if from != to {
            self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_insert_with(|| place.to_owned());
        }
    }

    fn has(&self, from: &str, to: &str) -> bool {
        self.0.get(from).is_some_and(|to_all| to_all.contains_key(to))
    }

    fn remove(&mut self, from: &str, to: &str) {
        self.0.entry(from.to_owned()).or_default().remove(to);
    }

    /// All that can be reached from here, by the shortest way: each with the one before it.
    fn reached(&self, from: &str) -> BTreeMap<&str, &str> {
        let mut before = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            let Some((at, next)) = self.0.get_key_value(at) else { continue };
            for to in next.keys() {
                if !before.contains_key(to.as_str()) {
                    before.insert(to.as_str(), at.as_str());
                    queue.push_back(to);
                }
            }
        }
        before
    }

    /// For each group of nodes that reach each other the shortest cycle in it, with its places.
    fn cycles(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        for start in self.0.keys() {
            let before = self.reached(start);
            if told.contains(start.as_str()) || !before.contains_key(start.as_str()) {
                continue;
            }
            let mut text = format!("{start} is in a cycle:");
            let mut ways = Vec::new();
            let mut at = start.as_str();
            loop {
                let from = before[at];
                told.insert(from.to_owned());
                ways.push(format!("\n  {}", self.0[from][at]));
                at = from;
                if at == start {
                    break;
                }
            }
            ways.reverse();
            let _ = write!(text, "{}", ways.concat());
            found.push(text);
        }
        found
    }
}
