//! Keeps the repository as its design says: imports one way, short files and functions, no sleeps in tests, commented
//! settings, free dependencies, each once, no traces of one machine.
//!
//! Each check is a function from text to complaints, and is tried on a bad sample beside it, so that none passes for
//! want of looking.

#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/dialect.rs"]
mod dialect;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/kinds.rs"]
mod kinds;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/text.rs"]
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository: its path from the root, with `/`, and its text.
struct SourceFile {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below the folders, none of which may be empty of them.
fn rust_files(folders: &[&str]) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for folder in folders {
        let before = files.len();
        collect_rust_files(&root().join(folder), &mut files);
        assert!(files.len() > before, "{folder} has Rust files");
    }
    files
}

fn collect_rust_files(folder: &Path, files: &mut Vec<SourceFile>) {
    for entry in folder.read_dir().expect("a folder of the repository can be read") {
        let path = entry.expect("an entry of the repository can be read").path();
        if path.is_dir() {
            // What fuzzers were built of is not ours.
            if !path.ends_with("tests/soak/fuzz/target") {
                collect_rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(source_file(&path));
        }
    }
}

fn source_file(path: &PathBuf) -> SourceFile {
    let text = std::fs::read_to_string(path).expect("a source file is readable text");
    let from_root = path.strip_prefix(root()).expect("the file is in the repository");
    SourceFile {
        path: from_root.display().to_string(),
        text,
    }
}

/// The text files that git tracks, or would track once added.
fn tracked_text_files() -> Vec<SourceFile> {
    let listed = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(
        listed.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let names = String::from_utf8(listed.stdout).expect("names of the repository are UTF-8");
    let read = |name: &str| {
        let text = std::fs::read_to_string(root().join(name)).ok()?;
        Some(SourceFile {
            path: name.to_owned(),
            text,
        })
    };
    let files: Vec<SourceFile> = names.split_terminator('\0').filter_map(read).collect();
    assert!(
        files.iter().any(|file| file.path == "Cargo.toml"),
        "git lists the repository's files"
    );
    files
}

#[track_caller]
fn assert_tidy(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_readme_promises_what_the_tests_hold() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file of the repository");
    assert_tidy(
        promises::complaint(&read("README.md"), &read("tests/daemon/promises.rs"))
            .into_iter()
            .collect(),
    );
}

#[test]
fn imports_run_one_way() {
    assert_tidy(rust_files(&["src"]).iter().flat_map(imports::complaints).collect());
}

#[test]
fn no_circle_of_imports_is_inside_a_folder() {
    let files = rust_files(&["src"]);
    let folders = files.iter().filter_map(|file| Some(file.path.rsplit_once('/')?.0));
    let folders: BTreeSet<&str> = folders.filter(|folder| !folder.contains("/tests")).collect();
    let complaints = |folder: &&str| imports::circle_complaints(folder, &files);
    assert_tidy(folders.iter().flat_map(complaints).collect());
}

#[test]
fn only_the_wire_knows_the_agents_words() {
    assert_tidy(rust_files(&["src"]).iter().flat_map(dialect::complaints).collect());
}

#[test]
fn one_file_words_all_kinds_of_records() {
    let kinds = kinds::kinds(&source_file(&root().join("src/session/journal.rs")));
    assert_tidy(kinds::complaints(&kinds, &rust_files(&["src"])));
}

#[test]
fn a_type_name_has_one_meaning() {
    assert_tidy(names::complaints(&rust_files(&["src"])));
}

#[test]
fn one_module_starts_git() {
    assert_tidy(rust_files(&["src"]).iter().flat_map(imports::git_complaints).collect());
}

#[test]
fn the_pure_core_touches_nothing_outside() {
    assert_tidy(
        rust_files(&["src"])
            .iter()
            .flat_map(imports::purity_complaints)
            .collect(),
    );
}

#[test]
fn each_part_names_what_it_uses_of_its_parent() {
    assert_tidy(rust_files(&["src"]).iter().flat_map(imports::glob_complaints).collect());
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    assert_tidy(
        rust_files(&["src", "tests"])
            .iter()
            .flat_map(shape::file_complaints)
            .collect(),
    );
}

#[test]
fn functions_are_short() {
    assert_tidy(
        rust_files(&["src", "tests"])
            .iter()
            .flat_map(shape::function_complaints)
            .collect(),
    );
}

#[test]
fn no_test_sleeps() {
    assert_tidy(
        rust_files(&["src", "tests"])
            .iter()
            .flat_map(text::sleep_complaints)
            .collect(),
    );
}

#[test]
fn every_setting_has_a_comment() {
    // The settings file comes with the module that reads it.
    if root().join("src/config.rs").exists() || root().join("src/config").exists() {
        assert_tidy(text::setting_complaints(&source_file(
            &root().join("config/default.toml"),
        )));
    }
}

#[test]
fn no_text_speaks_of_one_machine() {
    assert_tidy(tracked_text_files().iter().flat_map(text::machine_complaints).collect());
}

#[test]
fn all_dependencies_are_free_pinned_and_there_once() {
    assert_tidy(dependencies::complaints(&root().join("Cargo.toml")));
}
