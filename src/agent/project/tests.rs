//! Directories that start something by itself, and those that only look like it.

use super::*;
use std::os::unix::fs::symlink;

struct World {
    _root: tempfile::TempDir,
    path: PathBuf,
}

const HOOKS: &str = r#"{"permissions": {"allow": ["Bash"]}, "model": "x",
    "hooks": {"SessionStart": [{"matcher": "", "hooks": [{"type": "command", "command": "sh \"$CLAUDE_PROJECT_DIR\"/hooks/a.sh"}]}]}}"#;

impl World {
    /// `home`, and `repo` with a `.git` folder.
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().canonicalize().expect("a path");
        for folder in [
            "home/.claude",
            "repo/.git",
            "repo/.claude",
            "repo/hooks",
            "repo/sub/.claude",
        ] {
            fs::create_dir_all(path.join(folder)).expect("a directory");
        }
        Self { _root: root, path }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).expect("written");
    }

    fn environment(&self) -> BTreeMap<String, String> {
        [("HOME".to_owned(), self.path.join("home").display().to_string())].into()
    }

    fn look(&self, name: &str) -> Option<StartingDirectory> {
        look(&self.path.join(name), &self.environment())
    }

    fn digest(&self) -> String {
        self.look("repo").expect("something starts").digest
    }

    fn trust(&self, file: &str, names: &[&str]) {
        let path = |name: &str| match name {
            "" => self.path.clone(),
            name => self.path.join(name),
        };
        let accepted = serde_json::json!({"hasTrustDialogAccepted": true});
        let entry = |name: &&str| (path(name).display().to_string(), accepted.clone());
        let projects: serde_json::Map<_, _> = names.iter().map(entry).collect();
        self.write(file, &serde_json::json!({ "projects": projects }).to_string());
    }

    fn is_trusted(&self, name: &str) -> bool {
        is_trusted(&self.path.join(name), &self.environment())
    }

    /// A linked working tree of `repo`, as git makes it.
    fn link_tree(&self, name: &str) {
        let own = self.path.join("repo/.git/worktrees").join(name);
        fs::create_dir_all(&own).expect("a directory");
        fs::create_dir(self.path.join(name)).expect("a directory");
        fs::write(own.join("commondir"), "../..\n").expect("written");
        let marker = self.path.join(name).join(".git");
        fs::write(own.join("gitdir"), format!("{}\n", marker.display())).expect("written");
        fs::write(marker, format!("gitdir: {}\n", own.display())).expect("written");
    }
}

#[test]
fn a_directory_that_brings_rules_and_texts_alone_starts_nothing() {
    let world = World::new();
    assert_eq!(world.look("repo"), None);
    world.write("repo/CLAUDE.md", "text");
    world.write(
        "repo/.claude/settings.json",
        r#"{"permissions": {"allow": ["Bash(command:*)"]}, "model": "x", "hooks": {"Stop": []}, "env": {}, "outputStyle": "y"}"#,
    );
    world.write("repo/.mcp.json", r#"{"mcpServers": {}}"#);
    world.write("repo/.claude/settings.local.json", "\n");
    assert_eq!(world.look("repo"), None);
}

#[test]
fn what_starts_is_told_line_by_line_without_values() {
    let world = World::new();
    world.write("repo/.claude/settings.json", HOOKS);
    world.write(
        "repo/.claude/settings.local.json",
        r#"{"apiKeyHelper": "./key.sh", "env": {"A_KEY": "s1"}, "enabledPlugins": {"p@m": true},
            "statusLine": {"type": "command", "command": "line\u001b[2J\nx\u202e"}, "sandbox": {"ripgrep": {"command": "rg2"}}}"#,
    );
    world.write(
        "repo/.mcp.json",
        r#"{"mcpServers": {"db": {"command": "npx", "args": ["db", "-v"], "env": {"K": "s2"}},
            "web": {"type": "http", "url": "https://x.example", "headers": {"H": "s3"},
            "headersHelper": "./token.sh"}}}"#,
    );
    let found = world.look("repo").unwrap();
    assert_eq!(found.root, world.path.join("repo"));
    let told = found.starts.join("\n");
    for line in [
        "hook SessionStart: sh \"$CLAUDE_PROJECT_DIR\"/hooks/a.sh (.claude/settings.json)",
        "apiKeyHelper: ./key.sh (.claude/settings.local.json)",
        "variables: A_KEY (.claude/settings.local.json)",
        "enabledPlugins: p@m (.claude/settings.local.json)",
        r#""statusLine: line\u001b[2J\nx\u202e (.claude/settings.local.json)""#,
        "sandbox: {\"ripgrep\":{\"command\":\"rg2\"}} (.claude/settings.local.json)",
        "MCP server db (stdio): npx db -v; env K (.mcp.json)",
        "MCP server web (http): https://x.example; headers H; headersHelper \"./token.sh\" (.mcp.json)",
    ] {
        assert!(found.starts.iter().any(|told| told == line), "{line} is not in\n{told}");
    }
    assert!(!["s1", "s2", "s3"].iter().any(|value| told.contains(value)), "{told}");
}

#[test]
fn the_digest_follows_what_starts_and_the_files_it_names_and_no_rule() {
    let world = World::new();
    world.write("repo/.claude/settings.json", HOOKS);
    world.write("repo/hooks/a.sh", "one");
    let first = world.digest();
    world.write(
        "repo/.claude/settings.json",
        &HOOKS.replace("\"Bash\"", "\"Bash\", \"Write\""),
    );
    world.write("repo/other", "text");
    assert_eq!(world.digest(), first, "rules and other files do not count");
    world.write("repo/hooks/a.sh", "two");
    let second = world.digest();
    assert_ne!(second, first, "a file that a hook names counts");
    world.write(
        "repo/.mcp.json",
        r#"{"mcpServers": {"s": {"command": "x", "env": {"A": "1"}}}}"#,
    );
    let third = world.digest();
    world.write(
        "repo/.mcp.json",
        r#"{"mcpServers": {"s": {"command": "x", "env": {"A": "2"}}}}"#,
    );
    assert!(
        third != second && world.digest() != third,
        "a server and its variables count"
    );
    world.link_tree("linked");
    fs::create_dir_all(world.path.join("linked/.claude")).unwrap();
    fs::create_dir_all(world.path.join("linked/hooks")).unwrap();
    for name in [".claude/settings.json", ".mcp.json", "hooks/a.sh"] {
        fs::copy(world.path.join("repo").join(name), world.path.join("linked").join(name)).unwrap();
    }
    let linked = world.look("linked").unwrap();
    assert_eq!((linked.digest, linked.root), (world.digest(), world.path.join("repo")));
}

#[test]
fn a_file_that_a_hook_writes_to_does_not_count() {
    assert_eq!(
        words("sh 'a b'/x.sh -o=y >> log 2>err <in; z"),
        ["sh", "a", "b", "/x.sh", "-o", "y", "2", "in", "z"]
    );
    let world = World::new();
    world.write(
        "repo/.mcp.json",
        r#"{"mcpServers": {"s": {"command": "sh", "args": ["-c", "date >> log"]}}}"#,
    );
    let first = world.digest();
    world.write("repo/log", "one");
    assert_eq!(world.digest(), first);
}

#[test]
fn settings_are_looked_for_where_the_cli_takes_them_from() {
    let world = World::new();
    world.write("repo/.claude/settings.json", HOOKS);
    assert_eq!(
        world.look("repo/sub"),
        None,
        "settings of a directory above are not taken"
    );
    world.write("repo/.claude/settings.local.json", HOOKS);
    assert!(world.look("repo/sub").is_some(), "local ones of the top are");
    world.link_tree("linked");
    assert!(world.look("linked").is_some(), "and those of the main repository");
    fs::create_dir_all(world.path.join("plain/a")).unwrap();
    assert_eq!(world.look("plain/a"), None);
    world.write("plain/.mcp.json", r#"{"mcpServers": {"s": {"command": "x"}}}"#);
    assert!(world.look("plain/a").is_some(), "servers of every directory above are");
    world.write("home/.claude/settings.json", HOOKS);
    assert_eq!(world.look("home"), None, "the user's own settings are no project's");
}

#[test]
fn a_file_that_is_not_understood_is_not_taken_for_nothing() {
    let world = World::new();
    world.write("repo/.claude/settings.json", "{\"hooks\": // text\n}");
    let first = world.digest();
    world.write("repo/.claude/settings.json", "{\"hooks\": // other text\n}");
    assert_ne!(world.digest(), first);
    world.write("repo/.claude/settings.json", &format!("\u{feff}{HOOKS}"));
    assert!(world.look("repo").unwrap().starts[0].starts_with("hook SessionStart"));
    let path = world.path.join("repo/.claude/settings.json");
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    assert!(world.look("repo").unwrap().starts[0].contains("it is a pipe"));
    fs::remove_file(&path).unwrap();
    symlink("/missing", path).unwrap();
    assert_eq!(world.look("repo"), None);
}

#[test]
fn many_things_are_counted_and_none_is_longer_than_a_line() {
    let world = World::new();
    let servers: serde_json::Map<_, _> = (0..LINES_MAX + 7)
        .map(|n| (format!("s{n:03}"), serde_json::json!({"command": "x".repeat(5000)})))
        .collect();
    world.write(
        "repo/.mcp.json",
        &serde_json::json!({ "mcpServers": servers }).to_string(),
    );
    let starts = world.look("repo").unwrap().starts;
    assert_eq!(
        (starts.len(), starts.last().unwrap().as_str()),
        (LINES_MAX + 1, "… and 7 more")
    );
    assert!(starts[0].ends_with("more characters)") && starts[0].chars().count() < 1100);
}

#[test]
fn the_record_of_the_cli_is_read_by_the_names_that_it_uses() {
    let world = World::new();
    world.link_tree("linked");
    assert!(!world.is_trusted("repo"));
    world.trust("home/.claude.json", &["repo"]);
    for trusted in ["repo", "repo/sub", "linked"] {
        assert!(world.is_trusted(trusted), "{trusted}");
    }
    world.trust("home/.claude.json", &[""]);
    assert!(!world.is_trusted("repo/sub"), "a repository ends at its top");
    fs::create_dir_all(world.path.join("plain/a")).unwrap();
    assert!(world.is_trusted("plain/a"), "elsewhere a folder above counts");
    world.trust("home/.claude/.config.json", &["repo"]);
    assert!(world.is_trusted("repo"), "an old place of the record goes first");

    let mut environment = world.environment();
    let is_trusted = |environment: &_| is_trusted(&world.path.join("repo"), environment);
    environment.insert(
        "CLAUDE_CONFIG_DIR".into(),
        world.path.join("other").display().to_string(),
    );
    assert!(!is_trusted(&environment));
    fs::create_dir(world.path.join("other")).unwrap();
    world.trust("other/.claude.json", &["repo"]);
    assert!(is_trusted(&environment));
    environment.insert("CLAUDE_CODE_IGNORE_PERSISTED_TRUST".into(), "1".into());
    assert!(!is_trusted(&environment));
}

#[test]
fn a_directory_does_not_become_a_trusted_repository_by_what_it_says_itself() {
    let world = World::new();
    world.trust("home/.claude.json", &["repo"]);
    world.link_tree("linked");
    fs::create_dir(world.path.join("hostile")).unwrap();
    fs::copy(world.path.join("linked/.git"), world.path.join("hostile/.git")).unwrap();
    assert!(!world.is_trusted("hostile"));
    assert!(world.is_trusted("linked"));
    let text = format!("gitdir: {}\n", world.path.join("repo/.git").display());
    world.write("hostile/.git", &text);
    assert!(!world.is_trusted("hostile"));
}
