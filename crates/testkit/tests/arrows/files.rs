//! Which file may import which: no circles across the files of a crate, and front ends as equals. It reads the `use`
//! declarations of what ships; tests inside a file may import anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Crates whose files import each other in no circle.
const CRATES: [&str; 4] = ["http", "core", "bench", "chaos"];

/// Folders of `http` that hold front ends and what these share, and what of it is shared.
const DIALECTS: &[(&str, &[&str])] =
    &[("openai", &["call_id", "error", "parameters", "usage"]), ("ops", &[])];

/// What every front end of `http` may import, and which imports none. All other modules are front ends; only `routes` names them.
const SHARED: &[&str] = &["config", "front", "metrics", "server", "stream"];

/// The front end that a module belongs to: a folder, alone or in a dialect.
fn front_end(module: &str) -> Option<String> {
    let mut parts = module.split("::");
    let first =
        parts.next().filter(|first| !first.is_empty() && *first != "routes" && !SHARED.contains(first))?;
    let Some((_, shared)) = DIALECTS.iter().find(|(dialect, _)| *dialect == first) else {
        return Some(first.to_owned());
    };
    let second = parts.next().filter(|second| !shared.contains(second))?;
    Some(format!("{first}::{second}"))
}

#[test]
fn the_files_of_a_crate_import_each_other_in_no_circle() {
    for name in CRATES {
        let circles: BTreeSet<_> = Files::of(name).circles().into_iter().flatten().collect();
        assert!(
            circles.is_empty(),
            "these files of crates/{name}/src import each other in a circle: {circles:?}"
        );
    }
}

#[test]
fn a_front_end_imports_no_other_and_only_routes_names_them() {
    let files = Files::of("http");
    let mut found = BTreeSet::new();
    for (module, imports) in &files.imports {
        found.extend(front_end(module));
        for import in imports {
            let Some(named) = front_end(import) else { continue };
            assert!(
                module == "routes" || front_end(module).as_ref() == Some(&named),
                "{module} imports {import}: what two front ends need belongs into front, stream, or their own dialect"
            );
        }
    }
    let known = ["ask", "openai::chat", "openai::responses", "ops::health", "ui"].map(str::to_owned);
    assert!(found.is_superset(&known.into()), "{found:?}");
}

#[test]
fn the_reader_of_imports_understands_what_rust_allows() {
    let modules = ["", "a", "a::b", "c", "c::d"].map(str::to_owned).into();
    let names = |module, code| resolve(module, code, &modules);
    let of = |list: &[&str]| list.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(names("c", "use crate::a::{self, b::Thing, Other};"), of(&["a", "a::b"]));
    assert_eq!(
        names("c", "pub(crate) use self::d::Thing;\nuse super::a::b::{X as Y};"),
        of(&["a::b", "c::d"])
    );
    assert_eq!(
        names("c::d", "// use crate::a::X;\nuse super::X;\nlet y = crate::a::b::f();"),
        of(&["a::b", "c"])
    );
    assert_eq!(names("c", "use std::fmt;\n#[cfg(test)]\nmod tests {\n    use crate::a::X;\n}\n"), of(&[]));
}

/// The files of a crate as modules, and which of them each imports.
struct Files {
    imports: BTreeMap<String, BTreeSet<String>>,
}

impl Files {
    fn of(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let code: BTreeMap<_, _> = files(&source)
            .into_iter()
            .map(|file| {
                (
                    module(file.strip_prefix(&source).expect("a file below the source")),
                    fs::read_to_string(&file).expect("a file can be read"),
                )
            })
            .filter(|(module, _)| module.rsplit("::").next() != Some("tests"))
            .collect();
        assert!(code.len() > 3, "no files in {}", source.display());
        let modules = code.keys().cloned().collect();
        let exports: BTreeMap<_, _> =
            code.iter().map(|(module, code)| (module, exports(module, code, &modules))).collect();
        let imports = code.iter().map(|(module, code)| {
            let mut imports = BTreeSet::new();
            for (target, item) in paths(module, code, &modules, false) {
                // What a module only passes on belongs to the file that it stems from.
                let from = exports.get(&target).and_then(|exports| exports.get(&item));
                imports.insert(from.unwrap_or(&target).clone());
            }
            imports.remove(module);
            (module.clone(), imports)
        });
        Self { imports: imports.collect() }
    }

    /// Sets of files each of which reaches all others of its set.
    fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<_, _> =
            self.imports.keys().map(|file| (file.as_str(), self.reached_from(file))).collect();
        let mut circles: Vec<BTreeSet<String>> = Vec::new();
        for file in self.imports.keys() {
            let circle: BTreeSet<_> = reach[file.as_str()]
                .iter()
                .filter(|other| reach[other.as_str()].contains(file))
                .cloned()
                .collect();
            if !circle.is_empty() && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached_from(&self, file: &str) -> BTreeSet<String> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
        while let Some(file) = next.pop() {
            for import in &self.imports[file] {
                if reached.insert(import.clone()) {
                    next.push(import);
                }
            }
        }
        reached
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// `a/b.rs` is `a::b`; the root of the crate has no name.
fn module(file: &Path) -> String {
    let path = file.with_extension("").to_str().expect("a name in UTF-8").replace('/', "::");
    if path == "lib" || path == "main" { String::new() } else { path }
}

fn resolve(module: &str, code: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    paths(module, code, modules, true).into_iter().map(|(target, _)| target).collect()
}

/// The items that a module passes on from others: their names, and where they stem from.
fn exports(module: &str, code: &str, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    let code = shipped(code);
    let declarations =
        code.match_indices("use ").filter(|(at, _)| code[..*at].trim_end().ends_with([')', 'b']));
    let declarations = declarations.filter(|(at, _)| is_public(&code[..*at]));
    let mut exports = BTreeMap::new();
    for (at, _) in declarations {
        for path in tree(&code[at + 4..], "") {
            if let Some((target, item)) = target(module, &path, modules) {
                exports.insert(item, target);
            }
        }
    }
    exports
}

fn is_public(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    line.starts_with("pub")
}

/// Every module that the code names, and the item of it. A declaration that only passes an item on does not count.
fn paths(module: &str, code: &str, modules: &BTreeSet<String>, with_exports: bool) -> Vec<(String, String)> {
    let code = shipped(code);
    let mut found = Vec::new();
    for root in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = &code[..at];
            // `super::super::` is found at its beginning, and a visibility is no import.
            if before.ends_with("::")
                || before.ends_with("(in ")
                || before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
            {
                continue;
            }
            let declares = before.trim_end().ends_with("use");
            let public = declares && is_public(before);
            for path in tree(&code[at..], "") {
                let Some((target, item)) = target(module, &path, modules) else { continue };
                let used_here = code.matches(item.as_str()).count() > 1;
                if with_exports || !public || used_here {
                    found.push((target, item));
                }
            }
        }
    }
    found
}

/// The code without comments and without its tests.
fn shipped(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::D}` as `a::b` and `a::c::D`; what follows the path does not matter.
fn tree(code: &str, prefix: &str) -> Vec<String> {
    let name_ends =
        code.find(|next: char| !(next.is_alphanumeric() || "_:#".contains(next))).unwrap_or(code.len());
    let (name, rest) = code.split_at(name_ends);
    let path = format!("{prefix}{name}");
    if !(path.ends_with("::") && rest.starts_with('{')) {
        return vec![path.trim_end_matches("::").to_owned()];
    }
    let (mut depth, mut begin, mut parts) = (0, 1, Vec::new());
    for (at, next) in rest.char_indices() {
        match next {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (next == ',' && depth == 1) || depth == 0 {
            parts.push(rest[begin..at].trim());
            begin = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).flat_map(|part| tree(part, &path)).collect()
}

/// The file that a path leads to, and the name of the item in it; `None` outside of this crate.
fn target(module: &str, path: &str, modules: &BTreeSet<String>) -> Option<(String, String)> {
    let mut at: Vec<&str> = Vec::new();
    let mut here: Vec<&str> = if module.is_empty() { Vec::new() } else { module.split("::").collect() };
    let mut parts = path.split("::").peekable();
    match parts.next()? {
        "crate" => {}
        "self" => at.append(&mut here),
        "super" => {
            here.pop();
            while parts.peek() == Some(&"super") {
                parts.next();
                here.pop();
            }
            at.append(&mut here);
        }
        _ => return None,
    }
    let mut item = "self";
    for part in parts {
        let next = at.iter().copied().chain([part]).collect::<Vec<_>>().join("::");
        if part == "self" || !modules.contains(&next) {
            item = part;
            break;
        }
        at.push(part);
    }
    Some((at.join("::"), item.to_owned()))
}
