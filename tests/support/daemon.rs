//! A daemon of a test's own: the real binary on a state directory of its own, with the simulated agent unless told
//! otherwise. Dropping it fails the test if a session is still live or a process is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::events::Events;
use super::wait::until;

/// Every process of a test daemon has this in its environment, with the test's own folder as its value.
const FAMILY_MARK: &str = "CC_EXECUTOR_TEST_ROOT";

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_cc-executor");

/// The daemon, and how to talk to it.
pub(crate) struct TestDaemon {
    root: TempDir,
    /// The program that [`TestDaemon::launch`] starts.
    pub(super) program: PathBuf,
    environment: BTreeMap<String, String>,
    child: Option<Child>,
    pub(super) agent: ureq::Agent,
}

impl TestDaemon {
    /// A daemon with the simulated agent.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more environment variables, settings among them.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::stopped(environment);
        daemon.launch();
        daemon
    }

    /// Everything but the daemon itself.
    pub(crate) fn stopped(environment: &[(&str, &str)]) -> Self {
        let root = TempDir::new().expect("a folder for the test");
        let path = |name: &str| root.path().join(name).display().to_string();
        for name in ["home", "work"] {
            std::fs::create_dir(root.path().join(name)).expect("a folder in it");
        }
        let simulator = json!([BINARY, "simulate", "--ledger", path("ledger")]).to_string();
        let mut all: BTreeMap<String, String> = [
            ("HOME", path("home")),
            ("XDG_STATE_HOME", path("state")),
            ("XDG_RUNTIME_DIR", path("run")),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("CC_EXECUTOR__SERVER__PORT", "0".to_owned()),
            ("CC_EXECUTOR__AGENT__COMMAND", simulator),
            (FAMILY_MARK, root.path().display().to_string()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        all.extend(
            environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE));
        Self {
            root,
            program: BINARY.into(),
            environment: all,
            child: None,
            agent: config.build().into(),
        }
    }

    /// Starts the daemon, again if need be, and waits until it serves.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "the daemon runs already");
        self.child = Some(self.spawn());
        until("the daemon to serve", || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                panic!("the daemon ended at once ({status}):\n{}", self.log());
            }
            let url = format!("{}/healthz", self.base_url()?);
            self.agent.get(url).call().ok().filter(|answer| answer.status() == 200)
        });
    }

    fn spawn(&self) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.path().join("daemon.log"));
        let log = log.expect("the daemon's log opens");
        let mut command = self.command_of(&self.program);
        command
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts")
    }

    /// This project's command with the daemon's environment, in the working folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command_of(Path::new(BINARY));
        command.args(arguments);
        command
    }

    /// Any program with the daemon's environment, in the working folder.
    pub(crate) fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// The test's own folder.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The folder that sessions work in.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// The state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state/cc-executor")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.root.path().join("daemon.log")).unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Kills the daemon as nothing can be caught.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the daemon runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Asks the daemon to end, waits for it, and answers its exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the daemon runs");
        signal(child.id(), rustix::process::Signal::TERM);
        child.wait().expect("it ends").code()
    }

    /// Waits until the daemon has ended by itself, and answers its exit code.
    pub(crate) fn wait_for_end(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the daemon runs");
        until("the daemon's end", || child.try_wait().ok().flatten()).code()
    }

    /// The daemon was told to end by somebody else and another one serves; that one is the test's to end.
    pub(crate) fn is_replaced(&mut self) {
        let mut child = self.child.take().expect("the daemon ran");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the daemon runs").id()
    }

    /// Its memory alone, in bytes: resident and not of a file.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("a line of memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1024
    }

    fn daemon_file(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.state().join("daemon.json")).ok()?).ok()
    }

    pub(crate) fn base_url(&self) -> Option<String> {
        let daemon = self.daemon_file()?;
        let ours = self.child.as_ref().is_none_or(|child| daemon["pid"] == child.id());
        ours.then(|| format!("http://127.0.0.1:{}", daemon["port"]))
    }

    /// The Unix socket of the daemon that runs.
    pub(crate) fn socket(&self) -> PathBuf {
        until("the socket's name", || {
            Some(self.daemon_file()?["socket"].as_str()?.into())
        })
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.state().join("token"))
            .expect("a token")
            .trim()
            .to_owned()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url().expect("the daemon says where it is"))
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.call(self.agent.get(self.url(path)))
    }

    pub(crate) fn delete(&self, path: &str) -> (u16, Value) {
        self.call(self.agent.delete(self.url(path)))
    }

    pub(super) fn call(&self, request: ureq::RequestBuilder<ureq::typestate::WithoutBody>) -> (u16, Value) {
        let request = request.header("Authorization", format!("Bearer {}", self.token()));
        read(request.call().expect("an answer"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(path, &body.to_string()).expect("an answer")
    }

    /// The same with any text; nothing where the daemon ends instead of answering.
    pub(crate) fn post_text(&self, path: &str, body: &str) -> Option<(u16, Value)> {
        let request = self
            .agent
            .post(self.url(path))
            .header("Authorization", format!("Bearer {}", self.token()));
        let request = request.header("Content-Type", "application/json");
        request.send(body).ok().map(read)
    }

    /// Creates a session that works on `task` in the working folder, and answers its id.
    pub(crate) fn create(&self, task: &str) -> String {
        self.create_with(json!({"task": task}))
    }

    /// The same with more fields of the request.
    pub(crate) fn create_with(&self, mut request: Value) -> String {
        request["cwd"] = request.get("cwd").cloned().unwrap_or_else(|| json!(self.work()));
        let (status, view) = self.post("/api/sessions", &request);
        assert_eq!(status, 201, "{view}");
        view["session_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn view(&self, id: &str) -> Value {
        let (status, view) = self.get(&format!("/api/sessions/{id}"));
        assert_eq!(status, 200, "{view}");
        view
    }

    /// Waits until the session is shown in this state.
    pub(crate) fn wait_for(&self, id: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the state", || {
                last = self.view(id);
                (last["state"] == state).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| {
            panic!(
                "not {state} but {last:#}\n{}\n{}",
                self.log(),
                self.kinds(id).join("\n")
            )
        })
    }

    /// All records of a session so far.
    pub(crate) fn records(&self, id: &str) -> Vec<Value> {
        let mut records: Vec<Value> = Vec::new();
        loop {
            let after = records
                .last()
                .map_or(0, |record| record["seq"].as_u64().expect("a seq"));
            let (status, page) = self.get(&format!("/api/sessions/{id}/records?after={after}&limit=500"));
            assert_eq!(status, 200, "{page}");
            let page = page["records"].as_array().expect("a page").clone();
            if page.is_empty() {
                return records;
            }
            records.extend(page);
        }
    }

    pub(crate) fn records_of(&self, id: &str, kind: &str) -> Vec<Value> {
        self.records(id)
            .into_iter()
            .filter(|record| record["kind"] == kind)
            .collect()
    }

    /// The texts the agent said, in order.
    pub(crate) fn texts(&self, id: &str) -> Vec<String> {
        let said = self
            .records_of(id, "agent.message")
            .into_iter()
            .map(|record| record["data"]["message"].clone());
        let texts = said.filter(|message| message["type"] == "text");
        texts
            .map(|message| message["text"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn kinds(&self, id: &str) -> Vec<String> {
        self.records(id)
            .iter()
            .map(|record| record.to_string().chars().take(300).collect())
            .collect()
    }

    /// The session's open question, once there is one.
    pub(crate) fn question(&self, id: &str) -> Value {
        until("a question", || {
            let view = self.view(id);
            let open = view["questions"]
                .as_array()?
                .iter()
                .find(|question| question["answered"] == false)?;
            Some(open.clone())
        })
    }

    pub(crate) fn answer(&self, id: &str, question: &str, answer: &Value) -> (u16, Value) {
        self.post(&format!("/api/sessions/{id}/questions/{question}/answer"), answer)
    }

    pub(crate) fn cancel(&self, id: &str) -> Value {
        let (status, view) = self.post(&format!("/api/sessions/{id}/cancel"), &json!({}));
        assert!([200, 202].contains(&status), "{view}");
        view
    }

    /// Reads a stream from after `cursor`. One that hangs fails the test.
    pub(crate) fn stream(&self, path: &str, cursor: Option<u64>) -> Events {
        self.read_stream(self.agent.get(self.url(path)), cursor)
    }

    pub(super) fn read_stream(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
        cursor: Option<u64>,
    ) -> Events {
        let request = request.config().timeout_recv_body(Some(PATIENCE_STREAM)).build();
        let mut request = request.header("Authorization", format!("Bearer {}", self.token()));
        if let Some(cursor) = cursor {
            request = request.header("Last-Event-ID", cursor.to_string());
        }
        let answer = request.call().expect("an answer");
        assert_eq!(answer.status(), 200);
        Events::new(answer.into_body())
    }

    /// Pids of all processes of this daemon, itself included.
    pub(crate) fn family(&self) -> Vec<i32> {
        processes_with(&format!("{FAMILY_MARK}={}", self.root.path().display()))
    }

    /// Pids of the session's processes: its agents and what they started.
    pub(crate) fn processes_of(&self, id: &str) -> Vec<i32> {
        processes_with(&format!("CC_EXECUTOR_ATTEMPT={id}/"))
    }

    /// Pids of the session's hosts.
    pub(crate) fn hosts_of(&self, id: &str) -> Vec<u32> {
        let is_host = |pid: &i32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = command.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&&b"agent-host"[..]) && words.get(2) == Some(&id.as_bytes())
        };
        self.family()
            .into_iter()
            .filter(is_host)
            .map(|pid| pid as u32)
            .collect()
    }

    /// The session's last attempt, by its files: also where the daemon stands still.
    pub(crate) fn attempt(&self, id: &str) -> u32 {
        let attempts = std::fs::read_dir(self.state().join("sessions").join(id)).expect("the session's folder");
        let numbers = attempts
            .flatten()
            .filter_map(|attempt| attempt.file_name().to_str()?.parse().ok());
        numbers.max().expect("an attempt")
    }

    /// The agent of an attempt.
    pub(crate) fn agent_pid(&self, id: &str, attempt: u32) -> u32 {
        let path = self.state().join(format!("sessions/{id}/{attempt}/agent.json"));
        until("the agent's process", || {
            let agent: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            u32::try_from(agent["pid"].as_u64()?).ok()
        })
    }

    fn stop_and_look(&mut self) -> Result<(), String> {
        let (_, view) = self.get("/api/sessions?state=live");
        let live = view["sessions"].as_array().into_iter().flatten();
        let live: Vec<_> = live.map(Value::to_string).collect();
        if self.terminate() != Some(0) {
            return Err(format!("the daemon did not end well:\n{}", self.log()));
        }
        if !live.is_empty() {
            return Err(format!("sessions are still live: {live:?}"));
        }
        // Hosts end by themselves when their sessions have.
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the last process to end", || self.family().is_empty().then_some(()))
        }));
        left.map_err(|_| format!("processes are left: {:?}", self.family()))
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        let outcome = if self.child.is_some() && !std::thread::panicking() {
            self.stop_and_look()
        } else {
            Ok(())
        };
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let mut left = self.family();
        let is_left = !left.is_empty();
        while !left.is_empty() {
            left.into_iter()
                .for_each(|pid| signal(pid as u32, rustix::process::Signal::KILL));
            left = self.family();
        }
        if !std::thread::panicking() {
            outcome.unwrap_or_else(|why| panic!("{why}"));
            assert!(!is_left, "a test left processes behind");
        }
    }
}

pub(super) fn read(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = answer.status().as_u16();
    let body = answer
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_string()
        .expect("a body");
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

/// Sends a signal; the process may be gone already.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn processes_with(mark: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_mark = |pid: &i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(mark.as_bytes()))
    };
    pids.filter(has_mark).collect()
}

const PATIENCE: Duration = super::wait::PATIENCE;

/// The most time for the whole of a stream, which may be left unread for long.
const PATIENCE_STREAM: Duration = Duration::from_secs(5 * PATIENCE.as_secs());
