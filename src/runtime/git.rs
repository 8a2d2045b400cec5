//! Git, without anything that a repository could have it run. No other module starts git.
//!
//! The configuration of a repository names programs: `core.fsmonitor`, filters, hooks, drivers of diffs and merges. An
//! agent can write that configuration, and what we start is not held by the agent's permissions. So git never reads it:
//! its GIT_DIR is a folder of ours, with a configuration of ours and a copy of the repository's index. Only the objects
//! and the working tree are the repository's own. The few settings that decide how files compare are copied, from closed
//! lists of names and values.
//!
//! A file that a filter converts counts as changed once its time or size differs from the index.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::disk::create_private_dir;
use crate::disk::regular;
use crate::session::checkpoint::GitState;

/// The longest file of references that is read, in bytes.
const REFERENCES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest index that is copied, in bytes.
const INDEX_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How many references may lead from one to the next.
const REFERENCES_MAX: usize = 5;

/// No file is converted by a program, and none has a driver.
const ATTRIBUTES: &str = "* -filter -diff -merge\n";

/// Git runs nothing by this configuration, whatever its defaults become.
const CONFIGURATION: &str = "\
[core]
	fsmonitor = false
	hooksPath = /dev/null
	attributesFile = /dev/null
	excludesFile = /dev/null
	pager = cat
	safecrlf = false
";

/// Settings in the section `core` that decide whether a file differs from the index.
const COPIED: [&str; 8] = [
    "autocrlf",
    "checkstat",
    "eol",
    "filemode",
    "ignorecase",
    "precomposeunicode",
    "symlinks",
    "trustctime",
];

/// All values that a copied setting may have.
const VALUES: [&str; 13] = [
    "true", "false", "yes", "no", "on", "off", "1", "0", "input", "lf", "crlf", "native", "minimal",
];

/// Where the parts of a repository are.
#[derive(Debug)]
struct Repository {
    /// The working tree.
    tree: PathBuf,
    /// What belongs to this working tree alone: its HEAD and index.
    own: PathBuf,
    /// What all working trees share: objects, references, configuration.
    common: PathBuf,
}

/// Returns the commit that is checked out in `directory`, and whether tracked files differ from it. `place` is the folder
/// that serves git as GIT_DIR. Returns none outside a repository, for which no process is started, before the first
/// commit, and where the references are in no files (reftable). Takes no lock of git's, so that it is in nobody's way.
/// Whoever stops waiting for it ends it.
pub(super) async fn state(directory: &Path, place: &Path) -> Option<GitState> {
    let (directory, place) = (directory.to_owned(), place.to_owned());
    let looking = tokio::task::spawn_blocking(move || {
        let repository = Repository::around(&directory)?;
        let commit = repository.head()?;
        lay_out(&repository, &commit, &place).ok()?;
        Some((repository, commit, place))
    });
    let (repository, commit, place) = looking.await.ok()??;
    let status = [
        "status",
        "--porcelain=v2",
        "--untracked-files=no",
        "--no-renames",
        // Deeper looks would start git in each submodule, with the configuration there.
        "--ignore-submodules=dirty",
    ];
    let mut git = command(&repository, &place).args(status).spawn().ok()?;
    // One byte tells that something differs. There may be very many, and nobody reads them.
    let told = git.stdout.take()?.read(&mut [0]).await.ok()?;
    let dirty = told > 0;
    (dirty || git.wait().await.ok()?.success()).then_some(GitState { commit, dirty })
}

/// Git, to be run on the working tree. It gets no variable of ours but the path on which it is found itself.
fn command(repository: &Repository, place: &Path) -> Command {
    let mut git = Command::new("git");
    git.env_clear();
    git.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    git.env("GIT_DIR", place);
    git.env("GIT_WORK_TREE", &repository.tree);
    git.env("GIT_OBJECT_DIRECTORY", repository.common.join("objects"));
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.envs([
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("LC_ALL", "C"),
    ]);
    // By `-C`, not by the process's own directory: a relative entry of PATH would find programs in that.
    git.arg("--no-optional-locks").arg("-C").arg(&repository.tree);
    git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    git.kill_on_drop(true);
    git
}

/// Makes the folder that serves as GIT_DIR: HEAD, configuration, attributes, and the index as it is now.
fn lay_out(repository: &Repository, commit: &str, place: &Path) -> io::Result<()> {
    // A session that was removed meanwhile gets no directory again.
    fs::metadata(place.parent().unwrap_or(place))?;
    create_private_dir(&place.join("info"))?;
    create_private_dir(&place.join("refs"))?;
    write(&place.join("HEAD"), format!("{commit}\n").as_bytes())?;
    write(&place.join("info/attributes"), ATTRIBUTES.as_bytes())?;
    write(&place.join("config"), configuration(repository, commit).as_bytes())?;
    match regular::if_there(regular::open(&repository.own.join("index")))? {
        Some(index) => copy(index, &place.join("index"))?,
        // There is none in a repository whose files were never checked out.
        None => remove(&place.join("index"))?,
    }
    link_shared_indexes(&repository.own, place)
}

/// An index that is split names the file with its other part.
fn link_shared_indexes(own: &Path, place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(own)?.flatten() {
        let name = entry.file_name();
        let is_shared = name.as_encoded_bytes().starts_with(b"sharedindex.");
        if is_shared && entry.file_type()?.is_file() {
            let link = place.join(name);
            remove(&link)?;
            symlink(entry.path(), link)?;
        }
    }
    Ok(())
}

/// Copies an index piece by piece: an agent may have made it long. The copy is as old as the index: git reads a file again
/// that may have changed since the index was written.
fn copy(index: File, path: &Path) -> io::Result<()> {
    let told = index.metadata()?;
    if told.len() > INDEX_BYTES_MAX {
        return Err(io::Error::other(format!(
            "the index has more than {INDEX_BYTES_MAX} bytes"
        )));
    }
    let new = path.with_extension("new");
    let mut copied = File::create(&new)?;
    io::copy(&mut index.take(INDEX_BYTES_MAX), &mut copied)?;
    copied.set_modified(told.modified()?)?;
    fs::rename(new, path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // An earlier look that was given up may still read the file before.
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Our configuration, with the settings of the repository that decide how files compare.
fn configuration(repository: &Repository, commit: &str) -> String {
    let mut configuration = CONFIGURATION.to_owned();
    let theirs = regular::read_at_most(&repository.common.join("config"), REFERENCES_BYTES_MAX).unwrap_or_default();
    for (name, value) in copied(&String::from_utf8_lossy(&theirs)) {
        configuration.push_str(&format!("\t{name} = {value}\n"));
    }
    let (version, format) = if commit.len() == 64 {
        (1, "[extensions]\n\tobjectFormat = sha256\n")
    } else {
        (0, "")
    };
    configuration + &format!("\trepositoryformatversion = {version}\n{format}")
}

/// The settings in a git configuration that are copied. Everything that is not plainly one of them is left out.
fn copied(theirs: &str) -> Vec<(&'static str, &'static str)> {
    let mut is_core = false;
    let mut found = Vec::new();
    for line in theirs.lines().map(str::trim) {
        if line.starts_with('[') {
            is_core = line.eq_ignore_ascii_case("[core]");
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_core) else {
            continue;
        };
        let value = value
            .split(['#', ';'])
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches('"');
        let known = |list: &[&'static str], text: &str| {
            let mut list = list.iter().copied();
            list.find(|word| text.eq_ignore_ascii_case(word))
        };
        found.extend(known(&COPIED, name.trim()).zip(known(&VALUES, value)));
    }
    found
}

impl Repository {
    /// The repository that a directory lies in.
    fn around(directory: &Path) -> Option<Self> {
        directory.ancestors().find_map(Self::at)
    }

    /// The repository whose working tree begins here.
    fn at(tree: &Path) -> Option<Self> {
        let marker = tree.join(".git");
        let own = match fs::metadata(&marker).ok()?.is_dir() {
            true => marker,
            false => tree.join(line(&marker)?.strip_prefix("gitdir:")?.trim_start()),
        };
        let common = line(&own.join("commondir")).map_or_else(|| own.clone(), |common| own.join(common));
        let tree = tree.to_owned();
        let is_one = own.join("HEAD").symlink_metadata().is_ok() && common.join("objects").is_dir();
        is_one.then_some(Self { tree, own, common })
    }

    /// The commit that is checked out.
    fn head(&self) -> Option<String> {
        let mut text = line(&self.own.join("HEAD"))?;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = text.strip_prefix("ref:").map(str::trim) else {
                return is_hash(&text).then_some(text);
            };
            text = self.value_of(reference)?;
        }
        None
    }

    fn value_of(&self, reference: &str) -> Option<String> {
        let is_within = reference.starts_with("refs/") && reference.split('/').all(|part| part != "..");
        is_within.then_some(())?;
        let loose = [&self.own, &self.common].map(|folder| line(&folder.join(reference)));
        loose.into_iter().flatten().next().or_else(|| {
            let packed = regular::read_at_most(&self.common.join("packed-refs"), REFERENCES_BYTES_MAX).ok()?;
            let packed = String::from_utf8_lossy(&packed);
            let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(_, name)| *name == reference)
                .map(|(hash, _)| hash.to_owned())
        })
    }
}

/// The only line of a small file.
fn line(path: &Path) -> Option<String> {
    let text = String::from_utf8(regular::read_at_most(path, 8192).ok()?).ok()?;
    Some(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        root: tempfile::TempDir,
    }

    impl World {
        fn new(init: &[&str]) -> Self {
            let root = tempfile::tempdir().expect("a directory");
            let world = Self { root };
            fs::create_dir(world.tree()).expect("a directory");
            world.git(&[&["init", "-q"], init].concat());
            world
        }

        fn tree(&self) -> PathBuf {
            self.root.path().join("tree")
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.tree().join(name), text).expect("written");
        }

        fn git(&self, arguments: &[&str]) {
            let mut git = std::process::Command::new("git");
            git.current_dir(self.tree()).env("HOME", self.root.path());
            git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]);
            let output = git.args(arguments).output().expect("git runs");
            assert!(output.status.success(), "{arguments:?}: {output:?}");
        }

        fn commit(&self, name: &str, text: &str) {
            self.write(name, text);
            self.git(&["add", "."]);
            self.git(&["commit", "-q", "-m", name]);
        }

        async fn state(&self, tree: &Path) -> Option<GitState> {
            state(tree, &self.root.path().join("place")).await
        }

        async fn is_dirty(&self) -> bool {
            self.state(&self.tree()).await.expect("a state").dirty
        }
    }

    /// It differs in its size.
    const CHANGED: &str = "something else\n";

    #[tokio::test]
    async fn the_commit_is_told_and_whether_tracked_files_differ_from_it() {
        for init in [&[][..], &["--object-format=sha256"]] {
            let world = World::new(init);
            assert_eq!(world.state(&world.tree()).await, None, "before the first commit");
            world.commit("file", "text\n");
            fs::create_dir(world.tree().join("below")).unwrap();
            let first = world.state(&world.tree().join("below")).await.unwrap();
            assert!(!first.dirty && is_hash(&first.commit), "{first:?}");
            world.write("untracked", "");
            assert!(!world.is_dirty().await, "untracked files do not count");
            // Time and size are the same where git counts in seconds.
            world.write("file", "txet\n");
            assert!(world.is_dirty().await);
            world.write("file", CHANGED);
            assert!(world.is_dirty().await);
            world.git(&["commit", "-q", "-a", "-m", "second"]);
            let second = world.state(&world.tree()).await.unwrap();
            assert!(!second.dirty && second.commit != first.commit);
            world.git(&["rm", "-q", "--cached", "file"]);
            assert!(world.is_dirty().await, "what is staged counts");
        }
        let outside = tempfile::tempdir().unwrap();
        assert_eq!(state(outside.path(), &outside.path().join("place")).await, None);
    }

    #[tokio::test]
    async fn a_commit_is_found_behind_packed_references_a_split_index_and_a_linked_tree() {
        let world = World::new(&[]);
        world.commit("file", "text\n");
        let first = world.state(&world.tree()).await.unwrap();
        world.git(&["pack-refs", "--all"]);
        world.git(&["update-index", "--split-index"]);
        assert_eq!(world.state(&world.tree()).await, Some(first.clone()));
        world.git(&["worktree", "add", "-q", "-b", "other", "../linked"]);
        let linked = world.root.path().join("linked");
        assert_eq!(world.state(&linked).await, Some(first.clone()));
        fs::write(linked.join("file"), CHANGED).unwrap();
        assert!(world.state(&linked).await.unwrap().dirty);
        assert!(!world.is_dirty().await, "each tree has an index of its own");
        world.git(&["checkout", "-q", "--detach"]);
        assert_eq!(world.state(&world.tree()).await, Some(first));
    }

    #[tokio::test]
    async fn many_changes_are_one_and_an_index_that_is_too_long_is_not_copied() {
        let world = World::new(&[]);
        for n in 0..2000 {
            world.write(&format!("a-name-that-is-long-enough-to-fill-a-pipe-{n}"), "text\n");
        }
        world.commit("file", "text\n");
        assert!(!world.is_dirty().await);
        world.git(&["rm", "-rq", "--cached", "."]);
        assert!(world.is_dirty().await);
        world.git(&["reset", "-q"]);
        let index = world.tree().join(".git/index");
        File::options()
            .write(true)
            .open(index)
            .unwrap()
            .set_len(INDEX_BYTES_MAX + 1)
            .unwrap();
        assert_eq!(world.state(&world.tree()).await, None);
        assert!(!world.root.path().join("place/index.new").exists());
    }

    #[tokio::test]
    async fn what_is_no_repository_or_holds_a_pipe_in_a_files_place_tells_nothing() {
        let world = World::new(&[]);
        world.commit("file", "text\n");
        let index = world.tree().join(".git/index");
        fs::remove_file(&index).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &index, rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(world.state(&world.tree()).await, None);
        world.write(".git/HEAD", "ref: refs/../../outside\n");
        assert_eq!(world.state(&world.tree()).await, None);
        fs::remove_dir_all(world.tree().join(".git")).unwrap();
        world.write(".git", "gitdir: /dev\n");
        assert_eq!(world.state(&world.tree()).await, None);
    }

    #[test]
    fn only_settings_that_compare_files_are_copied() {
        let theirs = "[core]\n\tFileMode = false ; odd\n\tfsmonitor = /tmp/x\n\tautocrlf = \"input\"\n\teol = $(x)\n\
                      [filter \"x\"]\n\tsymlinks = false\n[Core]\n trustctime=no\n[include]\n\tpath = y\n";
        let expected = [("filemode", "false"), ("autocrlf", "input"), ("trustctime", "no")];
        assert_eq!(copied(theirs), expected);
    }
}
