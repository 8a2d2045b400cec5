//! A place for one attempt: its directory, its plan, the hosts started there. Dropping it leaves no process behind.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use cc_executor::agent_host::protocol::{ATTEMPT_MARK, AgentExit, AgentProcess, FromHost, LaunchPlan, files};
use cc_executor::session::id::{Attempt, SessionId};
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

use crate::client::Client;
use crate::support::wait::until;

/// One attempt's directory with its plan.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) plan: LaunchPlan,
    hosts: Vec<Child>,
}

/// What a host says in its hello, without what every test knows.
#[derive(Debug)]
pub(crate) struct Hello {
    pub(crate) agent: Option<AgentProcess>,
    pub(crate) exit: Option<AgentExit>,
    pub(crate) adopted: bool,
    pub(crate) spool_bytes: u64,
}

impl Place {
    /// A place whose agent is a shell script.
    pub(crate) fn with_script(script: &str) -> Self {
        Self::with_agent(&["/bin/sh", "-c", script])
    }

    /// A place whose agent is any program.
    pub(crate) fn with_agent(argv: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let plan = LaunchPlan {
            session: SessionId::new(),
            attempt: Attempt(1),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
            cwd: directory.path().to_owned(),
            socket: path("sockets/s"),
            transcript_lock: path("transcripts/t.lock"),
            agent_session_id: Uuid::now_v7(),
            spool_reserve_bytes: 1 << 20,
            open_files: None,
            umask: None,
            mark: None,
            places: Vec::new(),
            cgroup: None,
        };
        Self {
            directory,
            plan,
            hosts: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn spool(&self) -> Vec<u8> {
        fs::read(self.path(files::SPOOL)).unwrap()
    }

    /// Starts a host as the daemon does, and remembers it.
    pub(crate) fn start_host(&mut self) -> u32 {
        let host = self.spawn_host();
        let pid = host.id();
        self.hosts.push(host);
        pid
    }

    /// How the hosts that were started stand, in the order of their start.
    pub(crate) fn host_statuses(&mut self) -> Vec<Option<ExitStatus>> {
        self.hosts.iter_mut().map(|host| host.try_wait().unwrap()).collect()
    }

    /// Starts a host, connects to it and hears its hello.
    pub(crate) async fn host(&mut self) -> (Client, Hello) {
        self.start_host();
        self.connect().await
    }

    /// Connects to the host that is there and hears its hello, which must come first.
    pub(crate) async fn connect(&self) -> (Client, Hello) {
        let mut client = Client::connect(&self.plan.socket).await;
        let hello = client.until(Some).await;
        let FromHost::Hello {
            protocol,
            session,
            attempt,
            host_pid: _,
            agent,
            exit,
            adopted,
            spool_bytes,
        } = hello
        else {
            panic!("not a hello: {hello:?}")
        };
        assert_eq!((protocol, session, attempt), (1, self.plan.session, self.plan.attempt));
        (
            client,
            Hello {
                agent,
                exit,
                adopted,
                spool_bytes,
            },
        )
    }

    /// Kills the newest host outright; it is dead and reaped when this returns.
    pub(crate) fn kill_host(&mut self) {
        let mut host = self.hosts.pop().expect("a host was started");
        host.kill().unwrap();
        host.wait().unwrap();
    }

    /// Waits until the newest host has exited, and says how.
    pub(crate) fn host_exit(&mut self) -> Option<i32> {
        let mut host = self.hosts.pop().expect("a host was started");
        until("the host to exit", || host.try_wait().unwrap()).code()
    }

    /// What stands in a JSON file of the attempt.
    pub(crate) fn stored<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// How much stands in the agent's stdin.
    pub(crate) fn stdin_bytes(&self) -> u64 {
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(files::STDIN))
            .unwrap();
        rustix::io::ioctl_fionread(fifo).unwrap()
    }

    /// The mark of this attempt; one of an older version has no secret in it.
    pub(crate) fn mark(&self) -> String {
        let attempt = format!("{}/{}", self.plan.session, self.plan.attempt);
        match &self.plan.mark {
            Some(secret) => {
                let secret = serde_json::to_value(secret).unwrap();
                format!("{attempt}/{}", secret["digits"].as_str().unwrap())
            }
            None => attempt,
        }
    }

    /// Every process that carries the mark of this attempt.
    pub(crate) fn marked(&self) -> Vec<i32> {
        let mark = format!("{ATTEMPT_MARK}={}", self.mark());
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_marked = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes())
        };
        pids.filter(is_marked).collect()
    }

    fn spawn_host(&self) -> Child {
        fs::write(self.path("plan"), serde_json::to_vec(&self.plan).unwrap()).unwrap();
        fs::rename(self.path("plan"), self.path(files::LAUNCH)).unwrap();
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path(files::HOST_LOG))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cc-executor"));
        command
            .arg("agent-host")
            .arg(self.plan.session.to_string())
            .arg(self.plan.attempt.to_string());
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().unwrap()
    }

    fn kill_everything(&mut self) {
        for mut host in self.hosts.drain(..) {
            let _ = host.kill().and_then(|()| host.wait());
        }
        until("the processes of the attempt to end", || {
            let marked = self.marked();
            marked.iter().for_each(|pid| kill(*pid, Signal::KILL));
            marked.is_empty().then_some(())
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let log = fs::read_to_string(self.path(files::HOST_LOG)).unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("host.log:\n{log}");
        }
        self.kill_everything();
    }
}

/// Sends a signal; a process that is gone is nobody's fault.
pub(crate) fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Whether a process runs; one that has ended and was not reaped does not.
pub(crate) fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether somebody holds a lock.
pub(crate) fn is_held(lock: &Path) -> bool {
    File::open(lock).unwrap().try_lock().is_err()
}

/// Waits for a condition.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}
