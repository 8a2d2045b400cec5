//! What a text may not hold: sleeps in tests, settings without a comment, traces of one machine.

use super::SourceFile;
use super::shape::before_tests;

/// The parts of names that lead to one machine's registries; joined here so that this file passes its own check.
const REGISTRY_HOSTS: [&str; 7] = [
    concat!("registry.npmjs", ".org"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("arti", "factory"),
    concat!("proxy.golang", ".org"),
];

/// Beginnings of paths that exist on one machine only. `/home/user` is the name that recordings use.
const MACHINE_FOLDERS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/tmp/", "wt"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/ho", "me/"),
];
const NEUTRAL_HOME: &str = "/home/user";

/// Calls that wait for a time, joined here for the same reason.
const SLEEPS: [&str; 2] = [concat!("sl", "eep("), concat!("sl", "eep_until(")];

/// The only source of crates that the lock file may name.
const CRATES_SOURCE: &str = concat!("registry+https://github.com/rust-lang/", "crates.io-index");

/// Complaints about waiting for a time in tests. Helpers that poll a condition live in `tests/support`.
pub(super) fn sleep_complaints(file: &SourceFile) -> Vec<String> {
    let code = match () {
        () if file.path.starts_with("tests/support/") || file.path.starts_with("src/simulator") => "",
        () if file.path.starts_with("tests/") => file.text.as_str(),
        () => &file.text[before_tests(&file.text).len()..],
    };
    let sleeps = |line: &&str| SLEEPS.iter().any(|sleep| line.contains(sleep));
    let found = code.lines().filter(sleeps);
    found
        .map(|line| format!("{}: a test that sleeps: `{}`", file.path, line.trim()))
        .collect()
}

/// Complaints about settings without a comment on the line above or behind them.
pub(super) fn setting_complaints(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut above = "";
    for line in file.text.lines() {
        let key = line
            .split_once('=')
            .map(|(key, _)| key.trim())
            .filter(|key| is_key(key));
        if let Some(key) = key
            && !above.starts_with('#')
            && !line.contains(" # ")
        {
            complaints.push(format!("{}: `{key}` has no comment", file.path));
        }
        above = line;
    }
    complaints
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Complaints about folders of one machine and hosts of package registries.
pub(super) fn machine_complaints(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let place = format!("{}:{}", file.path, number + 1);
        let hosts = REGISTRY_HOSTS.iter().filter(|host| line.contains(**host));
        let folders = MACHINE_FOLDERS.iter().filter(|folder| names_folder(line, folder));
        complaints.extend(hosts.chain(folders).map(|trace| format!("{place}: names `{trace}`")));
        let source = line.strip_prefix("source = \"").filter(|_| file.path == "Cargo.lock");
        if source.is_some_and(|source| source.trim_end_matches('"') != CRATES_SOURCE) {
            complaints.push(format!("{place}: a crate from elsewhere"));
        }
    }
    complaints
}

/// Whether a path begins with the folder; in `/home/user/work/x` and `https://host/root/` it does not.
fn names_folder(line: &str, folder: &str) -> bool {
    let mut places = line.match_indices(folder).map(|(at, _)| at);
    places.any(|at| {
        let begins = !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.~/}>*".contains(c));
        begins && !line[at..].starts_with(NEUTRAL_HOME)
    })
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

    #[test]
    fn a_sleep_is_found_in_tests_only() {
        let sleep = concat!("tokio::time::sl", "eep(PAUSE).await;");
        assert_eq!(sleep_complaints(&file("tests/daemon/main.rs", sleep)).len(), 1);
        let in_source = format!("fn f() {{ {sleep} }}\n#[cfg(test)]\nmod tests {{\n{sleep}\n}}\n");
        assert_eq!(sleep_complaints(&file("src/runtime/feed.rs", &in_source)).len(), 1);
        assert_eq!(sleep_complaints(&file("tests/support/wait.rs", sleep)), [""; 0]);
    }

    #[test]
    fn a_setting_without_a_comment_is_found() {
        let settings = "# Port.\nport = 1\nhost = \"h\"\n[agent]\nplain = [\n    \"a=b\",\n]\nseen = 2 # behind it\n";
        let found = setting_complaints(&file("config/default.toml", settings)).join(" ");
        assert!(found.contains("`host`") && found.contains("`plain`"), "{found}");
        assert!(
            !found.contains("`port`") && !found.contains("`seen`") && !found.contains("`a`"),
            "{found}"
        );
    }

    #[test]
    fn machine_folders_and_registry_hosts_are_found() {
        let bad = [
            MACHINE_FOLDERS[0],
            "see ",
            MACHINE_FOLDERS[2],
            "x\n/home/",
            "someone\n",
            REGISTRY_HOSTS[0],
        ]
        .concat();
        assert_eq!(machine_complaints(&file("README.md", &bad)).len(), 4);
        let good = concat!("/home/user/wo", "rk/a https://host/ro", "ot/ ./ho", "me/x crates.io");
        assert_eq!(machine_complaints(&file("README.md", good)), [""; 0]);
    }

    #[test]
    fn a_crate_from_elsewhere_is_found_in_the_lock_file() {
        let lock = format!("source = \"{CRATES_SOURCE}\"\nsource = \"registry+https://mirror.example/index\"\n");
        assert_eq!(machine_complaints(&file("Cargo.lock", &lock)).len(), 1);
    }
}
