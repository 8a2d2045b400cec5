//! Imports: the layers of the top-level modules, circles inside a folder, and what the pure core may not name at all.

use std::collections::{BTreeMap, BTreeSet};

use super::SourceFile;
use super::shape::before_tests;

/// Each module with what it may import. `main.rs` and `lib.rs` put them together and are free.
///
/// `cli → daemon → web → runtime → attempt → store → agent → agent_host → session`: a layer may skip down, never up.
/// Settings and telemetry serve every layer down to `agent`, `disk` every layer that does I/O. The simulator stands for a
/// foreign program.
const LAYERS: [(&str, &str); 13] = [
    (
        "cli",
        "daemon web runtime attempt agent store config telemetry agent_host disk session simulator",
    ),
    (
        "daemon",
        "web runtime attempt agent store config telemetry agent_host disk session",
    ),
    (
        "web",
        "runtime attempt agent store config telemetry agent_host disk session",
    ),
    (
        "runtime",
        "attempt agent store config telemetry agent_host disk session",
    ),
    ("attempt", "agent store agent_host session"),
    ("agent", "config telemetry agent_host disk session"),
    ("store", "config telemetry agent agent_host disk session"),
    ("telemetry", "config session"),
    ("config", "session"),
    ("agent_host", "disk session"),
    ("disk", ""),
    ("session", ""),
    ("simulator", ""),
];

const PURE: [&str; 2] = ["attempt", "session"];

/// What has effects or reads a clock: modules of `std`, other crates, clocks by their call.
const IMPURE_STD: [&str; 7] = ["env", "fs", "io", "net", "os", "process", "thread"];
const IMPURE_CRATES: [&str; 11] = [
    "actix",
    "actix_http",
    "actix_rt",
    "actix_web",
    "actix_web_actors",
    "awc",
    "rand",
    "rusqlite",
    "rustix",
    "tokio",
    "tracing",
];
const CLOCKS: [&str; 5] = [
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Uuid::new_v4",
    "Zoned::now",
];

/// Complaints about modules that the file names though its own layer may not.
pub(super) fn complaints(file: &SourceFile) -> Vec<String> {
    let Some(own) = top_level_module(&file.path) else {
        return Vec::new();
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == own) else {
        return vec![format!("{}: `{own}` has no place in the layers", file.path)];
    };
    let code = without_comments(&file.text);
    let mut named = first_segments(&code, "crate");
    named.extend(named_by_super(&file.path, before_tests(&code)));
    named.retain(|name| *name != own && is_module(name) && !allowed.split(' ').any(|module| module == name));
    named.dedup();
    named
        .iter()
        .map(|name| format!("{}: `{own}` may not import `{name}`", file.path))
        .collect()
}

/// Modules of one folder, each with those of the same folder that it names.
type Ties = BTreeMap<String, BTreeSet<String>>;

/// One complaint per circle among the modules of a folder. A module is a file with the folder of the same name, so a
/// parent and its children may name each other.
pub(super) fn circle_complaints(folder: &str, files: &[SourceFile]) -> Vec<String> {
    let ties = ties(folder, files);
    let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
    for module in ties.keys() {
        let circle: Vec<&str> = reached(&ties, module)
            .into_iter()
            .filter(|other| reached(&ties, other).contains(module.as_str()))
            .collect();
        if circle.contains(&module.as_str()) {
            circles.insert(circle);
        }
    }
    let told = |circle: &Vec<&str>| format!("{folder}: a circle of imports: {}", told_ties(&ties, circle));
    circles.iter().map(told).collect()
}

/// Tests inside a file and modules of tests do not count.
fn ties(folder: &str, files: &[SourceFile]) -> Ties {
    let tests: BTreeSet<&str> = files.iter().flat_map(|file| test_modules(&file.text)).collect();
    let modules: Vec<_> = files
        .iter()
        .filter_map(|file| {
            Some((
                module_path(folder, &file.path)?,
                without_comments(before_tests(&file.text)),
            ))
        })
        .filter(|(path, _)| !path.iter().any(|module| *module == "tests" || tests.contains(module)))
        .collect();
    let mut ties: Ties = modules
        .iter()
        .map(|(path, _)| (path[0].to_owned(), BTreeSet::new()))
        .collect();
    let from_root = folder.replace('/', "::").replacen("src", "crate", 1);
    for (path, code) in &modules {
        let mut named = first_segments(code, &from_root);
        named.extend(first_segments(code, &vec!["super"; path.len()].join("::")));
        named.retain(|name| name != path[0] && ties.contains_key(name));
        ties.entry(path[0].to_owned()).or_default().extend(named);
    }
    ties
}

/// The modules with files of their own that exist in tests alone.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let behind = text.split("#[cfg(test)]\n").skip(1);
    behind.filter_map(|text| text.lines().next()?.rsplit_once("mod ")?.1.strip_suffix(';'))
}

/// `[wire, lines]` for `src/agent/wire/lines.rs` in `src/agent`; none for files elsewhere and the folder's own module.
fn module_path<'a>(folder: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let inner = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    (inner != "mod").then(|| inner.split('/').collect())
}

/// All modules that one names, directly or through others.
fn reached<'a>(ties: &'a Ties, module: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![module];
    while let Some(module) = open.pop() {
        for named in ties.get(module).into_iter().flatten() {
            if found.insert(named.as_str()) {
                open.push(named);
            }
        }
    }
    found
}

/// `a → b, b → a`.
fn told_ties(ties: &Ties, circle: &[&str]) -> String {
    let inside = |module: &str| {
        let named = ties[module].iter().filter(|named| circle.contains(&named.as_str()));
        named.map(|named| format!("{module} → {named}")).collect::<Vec<_>>()
    };
    circle
        .iter()
        .flat_map(|module| inside(module))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The module that starts git so that it runs nothing that a repository names.
const GIT: &str = "src/runtime/git.rs";

/// Complaints about a file that starts git by itself. Its tests are free.
pub(super) fn git_complaints(file: &SourceFile) -> Vec<String> {
    let starts_git = without_comments(before_tests(&file.text)).contains(r#"Command::new("git")"#);
    let complaint = || format!("{}: only {GIT} may start git", file.path);
    (starts_git && file.path != GIT).then(complaint).into_iter().collect()
}

/// Complaints about a part of an actor, or of an attempt, that takes all names of its parent: each says what it uses. Tests
/// are free.
pub(super) fn glob_complaints(file: &SourceFile) -> Vec<String> {
    let is_test = file.path.ends_with("/tests.rs") || ["/tests/", "/walk"].iter().any(|part| file.path.contains(part));
    let is_held = ["src/runtime/", "src/attempt/"]
        .iter()
        .any(|folder| file.path.starts_with(folder));
    let takes_all = before_tests(&file.text).contains("use super::*");
    let complaint = || format!("{}: `use super::*` outside of tests", file.path);
    (is_held && !is_test && takes_all).then(complaint).into_iter().collect()
}

/// Complaints about effects and clocks in the pure core. Its tests are free.
pub(super) fn purity_complaints(file: &SourceFile) -> Vec<String> {
    let pure = top_level_module(&file.path).is_some_and(|own| PURE.contains(&own));
    if !pure {
        return Vec::new();
    }
    let code = without_comments(before_tests(&file.text));
    let std_modules = first_segments(&code, "std");
    let modules = IMPURE_STD
        .iter()
        .filter(|module| std_modules.iter().any(|named| named == *module));
    let crates = IMPURE_CRATES
        .iter()
        .filter(|name| !first_segments(&code, name).is_empty());
    let clocks = CLOCKS.iter().filter(|clock| words(&code, clock).next().is_some());
    let found = modules.chain(crates).chain(clocks);
    found
        .map(|impure| format!("{}: the pure core names `{impure}`", file.path))
        .collect()
}

/// `runtime` for `src/runtime/feed.rs` and for `src/runtime.rs`.
fn top_level_module(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let module = path.split('/').next()?;
    let module = module.strip_suffix(".rs").unwrap_or(module);
    (!matches!(module, "main" | "lib")).then_some(module)
}

fn is_module(name: &str) -> bool {
    LAYERS.iter().any(|(module, _)| *module == name)
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split_once("//").map_or(line, |(code, _)| code).to_owned() + "\n";
    text.lines().map(code).collect()
}

/// What follows `root::` directly, also inside braces: `a` and `b` for `root::{a::x, b}`.
fn first_segments(code: &str, root: &str) -> Vec<String> {
    let path = format!("{root}::");
    words(code, &path)
        .filter(|at| !code[..*at].ends_with("super::"))
        .flat_map(|at| heads(&code[at + path.len()..]))
        .collect()
}

/// What is reached through as many `super`s as the file is deep, which is the crate's root.
fn named_by_super(path: &str, code: &str) -> Vec<String> {
    let inner = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    first_segments(code, &vec!["super"; inner.split('/').count()].join("::"))
}

/// Where a text stands that is not the middle of a longer name.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let open_end = word.ends_with(':') || !code[at + word.len()..].starts_with(inside_name);
        open_end && !code[..*at].ends_with(inside_name)
    })
}

fn heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![leading_name(rest)];
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(leading_name(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(leading_name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[track_caller]
    fn check(path: &str, text: &str, complained_of: &[&str]) {
        let found = complaints(&file(path, text));
        assert_eq!(found.len(), complained_of.len(), "{found:?}");
        for (complaint, name) in found.iter().zip(complained_of) {
            assert!(complaint.contains(name), "{complaint}");
        }
    }

    #[test]
    fn an_upward_import_is_found_however_it_is_written() {
        check("src/store/sqlite.rs", "use crate::runtime::Handle;", &["runtime"]);
        check(
            "src/store.rs",
            "use crate::{session::Id,\n    web::{a, b}, daemon};",
            &["web", "daemon"],
        );
        check("src/store/mod.rs", "fn f() { super::cli::run() }", &["cli"]);
        check("src/agent/wire.rs", "use super::super::store;", &["store"]);
        check("src/session/id.rs", "use crate::store::Record;", &["store"]);
        check("src/simulator/mod.rs", "use crate::session::Id;", &["session"]);
        check("src/agent_host/tail.rs", "use crate::config::Settings;", &["config"]);
        check("src/novel/mod.rs", "", &["no place"]);
    }

    #[test]
    fn downward_and_own_imports_are_free() {
        check("src/cli/run.rs", "use crate::{session::Id, simulator, cli::exit};", &[]);
        check(
            "src/store/sqlite.rs",
            "// crate::web\nuse crate::store::Store;\nuse super::memory;\nmy_crate::web();",
            &[],
        );
        check("src/main.rs", "use crate::cli;", &[]);
    }

    #[track_caller]
    fn check_circles(files: &[(&str, &str)], found: &[&str]) {
        let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
        assert_eq!(circle_complaints("src/store", &files), found);
    }

    #[test]
    fn a_circle_inside_a_folder_is_found_however_long_it_is() {
        check_circles(
            &[
                ("src/store/a.rs", "use super::{b::{self, B}, log};"),
                ("src/store/b/mod.rs", "mod inner;"),
                ("src/store/b/inner.rs", "use super::super::c::C;"),
                ("src/store/c.rs", "fn f() { crate::store::a::f() }"),
                ("src/store/d.rs", "use super::a;"),
            ],
            &["src/store: a circle of imports: a → b, b → c, c → a"],
        );
    }

    #[test]
    fn a_parent_its_children_and_tests_are_no_circle() {
        check_circles(
            &[
                (
                    "src/store/mod.rs",
                    "use a::A;\nuse self::b::B;\n#[cfg(test)]\npub(crate) mod samples;",
                ),
                ("src/store/samples.rs", "use super::b;"),
                (
                    "src/store/a.rs",
                    "// super::b\nuse super::Store;\nuse super::super::b;\nmod inner;",
                ),
                ("src/store/a/inner.rs", "use super::A;\nuse crate::store::a::B;"),
                ("src/store/b.rs", "use super::a;\n#[cfg(test)]\nmod walk;"),
                ("src/store/b/walk.rs", "use crate::store::samples;"),
                ("src/store/tests/b.rs", "use crate::store::b;"),
                ("src/web/b.rs", "use super::a;"),
                (
                    "src/store/a/b.rs",
                    "#[cfg(test)]\nmod tests {\n    use crate::store::b;\n}\n",
                ),
            ],
            &[],
        );
    }

    #[test]
    fn an_effect_or_a_clock_in_the_core_is_found() {
        let code = "use std::{fmt, fs::File};\nuse tokio::sync::watch;\nfn f() { Instant::now(); }";
        let found = purity_complaints(&file("src/session/state.rs", code)).join(" ");
        assert!(
            ["`fs`", "`tokio`", "`Instant::now`"]
                .iter()
                .all(|name| found.contains(name)),
            "{found}"
        );
        assert_eq!(purity_complaints(&file("src/runtime/feed.rs", code)), [""; 0]);
    }

    #[test]
    fn git_that_is_started_elsewhere_is_found() {
        let code = "fn f() { Command::new(\"git\"); }";
        assert_eq!(git_complaints(&file("src/runtime/files.rs", code)).len(), 1);
        assert_eq!(git_complaints(&file(GIT, code)), [""; 0]);
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{code}\n}}\n");
        assert_eq!(git_complaints(&file("src/runtime/files.rs", &in_tests)), [""; 0]);
    }

    #[test]
    fn a_part_that_takes_all_names_of_its_parent_is_found() {
        let code = "use super::*;\n";
        assert_eq!(glob_complaints(&file("src/runtime/handle/kin.rs", code)).len(), 1);
        assert_eq!(glob_complaints(&file("src/runtime/metrics/tests.rs", code)), [""; 0]);
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n    {code}}}\n");
        assert_eq!(glob_complaints(&file("src/runtime/files.rs", &in_tests)), [""; 0]);
    }

    #[test]
    fn the_cores_tests_and_plain_data_are_free() {
        let code =
            "use std::time::Duration;\nuse crate::session::Id;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(purity_complaints(&file("src/session/plan.rs", code)), [""; 0]);
    }
}
