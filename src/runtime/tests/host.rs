//! The simulated machine: which agents there are, and the other end of each link to one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_codec::Framed;
use awc::{BoxedSocket, ws};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use uuid::Uuid;

use super::agent::{Agent, Script};
use super::conversation::Conversation;
use super::told::Answers;
use super::troubles::Troubles;
use crate::agent::launch::LaunchError;
use crate::agent::socket::HostSocket;
use crate::agent_host::protocol::{
    AgentExit, CHUNK_BYTES_MAX, FRAME_BYTES_MAX, FromHost, LaunchPlan, PROTOCOL_VERSION, ToHost,
};
use crate::runtime::outside::{Clock, Hosts};
use crate::session::id::{Attempt, SessionId};
use crate::store::memory::MemoryStore;

/// How long a host takes until it listens.
const HOST_STARTS: Duration = Duration::from_millis(50);

/// How long a host takes until it has left.
const HOST_LINGERS: Duration = Duration::from_millis(50);

/// How much may be under way on a link; larger than any window.
const LINK_BYTES: usize = 1024 * 1024;

pub(super) type Name = (SessionId, Attempt);

/// What outlives a daemon.
pub(super) struct Machine {
    script: Script,
    clock: Clock,
    /// What is on disk, against which all is held that an agent is told.
    disk: MemoryStore,
    /// Where agents keep their conversations.
    transcripts: PathBuf,
    agents: Mutex<BTreeMap<Name, Agent>>,
    conversations: Mutex<BTreeMap<Uuid, Arc<Mutex<Conversation>>>>,
    complaints: Mutex<Vec<String>>,
    /// Whether no host can be had, and how often one was asked for meanwhile.
    hostless: Mutex<Option<u32>>,
    /// Whether whoever reaches for a host panics over it.
    deadly: AtomicBool,
    /// Whether hosts stand still that serve a link; once they are killed others can be had.
    still: watch::Sender<bool>,
    /// Whether hosts are those of a newer daemon; once they are killed there are none but ours.
    newer: watch::Sender<bool>,
    pub(super) troubles: Troubles,
    /// Whether hosts of an older daemon were asked for something that they do not know.
    pub(super) asks_too_much: AtomicBool,
    /// The longest line that an agent's stdin takes, in bytes, where that is less than it may be.
    line_bytes_max: Mutex<Option<usize>>,
}

impl Machine {
    pub(super) fn new(script: Script, clock: Clock, disk: MemoryStore, transcripts: PathBuf) -> Self {
        Self {
            script,
            clock,
            disk,
            transcripts,
            agents: Mutex::default(),
            conversations: Mutex::default(),
            complaints: Mutex::default(),
            hostless: Mutex::default(),
            deadly: AtomicBool::default(),
            still: watch::Sender::default(),
            newer: watch::Sender::default(),
            troubles: Troubles::default(),
            asks_too_much: AtomicBool::default(),
            line_bytes_max: Mutex::default(),
        }
    }

    /// From now on no pipe grows beyond this.
    pub(super) fn keeps_pipes_small(&self, bytes: usize) {
        *self.line_bytes_max.lock().unwrap() = Some(bytes);
    }

    /// From now on no host can be had, nor reached.
    pub(super) fn loses_hosts(&self) {
        *self.hostless.lock().unwrap() = Some(0);
    }

    /// From now on whoever reaches for a host panics over it, or does so no more.
    pub(super) fn makes_hosts_deadly(&self, deadly: bool) {
        self.deadly.store(deadly, Ordering::Relaxed);
    }

    /// Hosts can be had again; how often one was asked for in vain.
    pub(super) fn has_hosts_again(&self) -> u32 {
        self.hostless.lock().unwrap().take().unwrap_or_default()
    }

    /// The hosts that serve a link do nothing any more.
    pub(super) fn stops_hosts(&self) {
        self.still.send_replace(true);
    }

    /// From now on hosts are those of a newer daemon.
    pub(super) fn upgrades_hosts(&self) {
        self.newer.send_replace(true);
    }

    fn refuses_host(&self) -> bool {
        let mut hostless = self.hostless.lock().unwrap();
        if let Some(asked) = hostless.as_mut() {
            *asked += 1;
        }
        hostless.is_some()
    }

    /// How much the agent of this attempt has written.
    pub(super) fn spool_bytes(&self, name: Name) -> u64 {
        self.agents.lock().unwrap()[&name].spool_bytes()
    }

    /// What went on that must not.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    /// Agents that are alive, and what agents have left behind.
    pub(super) fn alive(&self) -> Vec<String> {
        let agents = self.agents.lock().unwrap();
        agents.iter().flat_map(|(name, agent)| remains(name, agent)).collect()
    }

    /// A conversation that nobody here has held, and its file.
    pub(super) fn begins_conversation(&self) -> Uuid {
        let id = Uuid::new_v4();
        std::fs::write(self.transcripts.join(format!("{id}.jsonl")), "{}\n").expect("the transcript can be written");
        id
    }

    /// Kills every agent.
    pub(super) fn kill_agents(&self) {
        let agents = self.agents.lock().unwrap();
        agents
            .values()
            .for_each(|agent| agent.end(AgentExit::Signal { signal: 9 }));
    }

    /// The agent of a prepared attempt: started where it never was.
    fn agent(&self, plan: &LaunchPlan) -> Agent {
        let name = (plan.session, plan.attempt);
        let mut agents = self.agents.lock().unwrap();
        if let Some(agent) = agents.get(&name) {
            return agent.clone();
        }
        let of_session = agents.iter().filter(|((session, _), _)| *session == plan.session);
        let others: Vec<_> = of_session.flat_map(|(name, agent)| remains(name, agent)).collect();
        if !others.is_empty() {
            self.complain(format!("attempt {} starts beside {others:?}", plan.attempt));
        }
        let agent = self.start(plan);
        agents.insert(name, agent.clone());
        agent
    }

    fn start(&self, plan: &LaunchPlan) -> Agent {
        let id = plan.agent_session_id;
        let transcript = self.transcripts.join(format!("{id}.jsonl"));
        let resumes = plan.argv.contains(&format!("--resume={id}"));
        if resumes != transcript.exists() {
            self.complain(format!(
                "attempt {}: {:?} with its transcript otherwise",
                plan.attempt, plan.argv
            ));
        }
        let goes_on = resumes && plan.env.contains_key("CLAUDE_CODE_RESUME_INTERRUPTED_TURN");
        let conversation = Arc::clone(self.conversations.lock().unwrap().entry(id).or_default());
        // The command of a simulated agent is its version.
        let version = plan.argv.first().cloned().unwrap_or_default();
        let clock = self.clock.clone();
        let mut modes = plan
            .argv
            .iter()
            .filter_map(|flag| flag.strip_prefix("--permission-mode="));
        let mode = modes.next().unwrap_or("default").to_owned();
        Agent::start(
            &self.script,
            clock,
            (version, mode),
            id,
            conversation,
            transcript,
            goes_on,
        )
    }

    fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap().push(complaint);
    }
}

/// What is alive of an attempt.
fn remains((_, attempt): &Name, agent: &Agent) -> Vec<String> {
    let own = agent.exit().is_none().then(|| "its agent".to_owned());
    let alive = own.into_iter().chain(agent.children());
    alive.map(|what| format!("attempt {attempt}: {what}")).collect()
}

/// The hosts as one daemon reaches them. Its death ends all its links.
pub(super) struct SimulatedHosts {
    pub machine: Arc<Machine>,
    /// Whether the daemon has died.
    pub died: watch::Receiver<bool>,
}

impl Hosts for SimulatedHosts {
    fn reach<'a>(&'a self, _: &'a Path, plan: &'a LaunchPlan) -> LocalBoxFuture<'a, Result<HostSocket, LaunchError>> {
        Box::pin(async move {
            tokio::time::sleep(HOST_STARTS).await;
            if *self.died.borrow() {
                // What is left of a daemon that died does nothing any more.
                return std::future::pending().await;
            }
            assert!(!self.machine.deadly.load(Ordering::Relaxed), "a test wants this panic");
            if self.machine.refuses_host() {
                let (program, source) = ("cc-executor".into(), std::io::Error::other("no process can be started"));
                return Err(LaunchError::Spawn { program, source });
            }
            let (daemon, host) = tokio::io::duplex(LINK_BYTES);
            let link = Link {
                name: (plan.session, plan.attempt),
                agent: self.machine.agent(plan),
                machine: Arc::clone(&self.machine),
                framed: Framed::new(host, ws::Codec::new().max_size(FRAME_BYTES_MAX)),
                reading: None,
                has_told_exit: false,
                answers: Answers::default(),
                ended_unasked: Vec::new(),
            };
            let mut died = self.died.clone();
            let breaks = self.machine.troubles.breaks_link();
            actix_rt::spawn(async move {
                if breaks {
                    return drop(link);
                }
                tokio::select! {
                    _ = died.wait_for(|died| *died) => {}
                    () = link.serve() => {}
                }
            });
            let codec = ws::Codec::new().max_size(FRAME_BYTES_MAX).client_mode();
            Ok(Framed::new(Box::new(daemon) as BoxedSocket, codec))
        })
    }

    fn is_anything_alive(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, bool> {
        let agents = self.machine.agents.lock().unwrap();
        let name = (session, attempt);
        let is_alive = agents.get(&name).is_some_and(|agent| !remains(&name, agent).is_empty());
        Box::pin(std::future::ready(is_alive))
    }

    fn kill_hosts(&self, _: SessionId, _: Attempt) -> LocalBoxFuture<'static, ()> {
        self.machine.troubles.note_kill();
        self.machine.still.send_replace(false);
        self.machine.newer.send_replace(false);
        Box::pin(std::future::ready(()))
    }

    fn end_everything(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, Vec<String>> {
        let agents = self.machine.agents.lock().unwrap();
        let name = (session, attempt);
        let ended = agents.get(&name).map(|agent| {
            let ended = remains(&name, agent);
            agent.end(AgentExit::Signal { signal: 15 });
            agent.end_children();
            ended
        });
        Box::pin(std::future::ready(ended.unwrap_or_default()))
    }
}

async fn until_it_is(value: bool, seen: &mut watch::Receiver<bool>) {
    seen.wait_for(|seen| *seen == value)
        .await
        .expect("the machine outlives its hosts");
}

/// A host's end of one link.
struct Link {
    name: Name,
    agent: Agent,
    machine: Arc<Machine>,
    framed: Framed<DuplexStream, ws::Codec>,
    /// From which offset to which the daemon reads.
    reading: Option<(u64, u64)>,
    has_told_exit: bool,
    answers: Answers,
    /// What a host that found a dead agent has ended unasked.
    ended_unasked: Vec<String>,
}

impl Link {
    /// Serves until either end lets go.
    async fn serve(mut self) {
        let mut changes = self.agent.changes();
        let mut still = self.machine.still.subscribe();
        let mut newer = self.machine.newer.subscribe();
        let is_newer = *newer.borrow();
        if self.agent.exit().is_some() {
            self.ended_unasked = self.agent.end_children();
        }
        self.say(self.hello(PROTOCOL_VERSION + u32::from(is_newer))).await;
        if is_newer {
            return until_it_is(false, &mut newer).await;
        }
        loop {
            self.pump().await;
            tokio::select! {
                frame = self.framed.next() => match frame {
                    Some(Ok(ws::Frame::Text(json))) => {
                        let order = serde_json::from_slice(&json).expect("the daemon speaks the protocol");
                        if order == ToHost::Release {
                            self.release();
                            return self.lingers().await;
                        }
                        if order == ToHost::EndLeftovers && self.machine.troubles.dies_of_leftovers() {
                            return;
                        }
                        self.obey(order).await;
                    }
                    Some(Ok(ws::Frame::Ping(payload))) => self.send(ws::Message::Pong(payload)).await,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                changed = changes.changed() => changed.expect("the link holds the agent"),
                () = until_it_is(true, &mut still) => return until_it_is(false, &mut still).await,
            }
        }
    }

    fn hello(&self, protocol: u32) -> FromHost {
        let (session, attempt) = self.name;
        FromHost::Hello {
            protocol,
            session,
            attempt,
            host_pid: 1,
            agent: None,
            exit: self.agent.exit(),
            adopted: false,
            spool_bytes: self.agent.spool_bytes(),
        }
    }

    /// Sends what may be sent, and then the news of the agent's end.
    async fn pump(&mut self) {
        while let Some((from, through)) = self.reading {
            let room = through.saturating_sub(from).min(CHUNK_BYTES_MAX as u64) as usize;
            let chunk = self.agent.spool(from, room);
            if chunk.is_empty() {
                break;
            }
            let end = from + chunk.len() as u64;
            self.reading = Some((end, through));
            self.machine.troubles.note_sent(self.name, end);
            let frame = [&from.to_le_bytes()[..], &chunk].concat();
            let frame = Bytes::from(frame);
            if self.machine.troubles.stutters() {
                self.send(ws::Message::Binary(frame.clone())).await;
            }
            self.send(ws::Message::Binary(frame)).await;
        }
        let Some(exit) = self.agent.exit().filter(|_| !self.has_told_exit) else {
            return;
        };
        self.has_told_exit = true;
        let spool_bytes = self.agent.spool_bytes();
        self.say(FromHost::Exited {
            exit,
            spool_bytes,
            stderr_tail: self.agent.stderr(),
        })
        .await;
    }

    async fn obey(&mut self, order: ToHost) {
        match order {
            ToHost::Read { from, through, .. } => {
                if from > self.agent.spool_bytes() {
                    self.complain(&format!("is read from {from}, beyond its end"));
                }
                self.reading = Some((from, through));
                if self.machine.asks_too_much.load(Ordering::Relaxed) {
                    let (op, error) = ("pause".to_owned(), "unknown variant".to_owned());
                    self.say(FromHost::NotUnderstood { op, id: None, error }).await;
                }
            }
            ToHost::Window { through } => self.reading = self.reading.map(|(from, _)| (from, through)),
            ToHost::Nudge => {}
            ToHost::Write { id, .. } if self.agent.exit().is_some() => {
                let error = "the agent is gone".to_owned();
                self.say(FromHost::Refused { id, error }).await;
            }
            ToHost::Write { id, line }
                if self
                    .machine
                    .line_bytes_max
                    .lock()
                    .unwrap()
                    .is_some_and(|max| line.len() > max) =>
            {
                let error = "the line is too long".to_owned();
                self.say(FromHost::Refused { id, error }).await;
            }
            ToHost::Write { id, line } => {
                let complaint = self.answers.take(&self.machine.disk, self.name.0, &line);
                complaint.into_iter().for_each(|complaint| self.complain(&complaint));
                self.agent.hear(&line);
                if self.machine.troubles.lets_agents_say_first() {
                    self.pump().await;
                }
                self.say(FromHost::Written { id }).await;
            }
            ToHost::Signal { signal: 15 } if self.agent.state().is_stubborn => {}
            ToHost::Signal { signal } => self.agent.end(AgentExit::Signal { signal }),
            ToHost::CountChildren => {
                let (count, youngest_ms) = (self.agent.children().len(), self.agent.youngest_ms());
                self.say(FromHost::Children { count, youngest_ms }).await;
            }
            ToHost::EndLeftovers => {
                if self.agent.exit().is_none() {
                    self.complain("is alive when its leftovers are ended");
                }
                let processes = std::mem::take(&mut self.ended_unasked).into_iter();
                let processes: Vec<_> = processes.chain(self.agent.end_children()).collect();
                if self.machine.troubles.stutters() {
                    let processes = processes.clone();
                    self.say(FromHost::LeftoversEnded { processes }).await;
                }
                self.say(FromHost::LeftoversEnded { processes }).await;
            }
            ToHost::Release => {}
        }
    }

    fn release(&self) {
        let is_over = self.agent.exit().is_some() && self.agent.children().is_empty();
        if !is_over {
            self.complain("is let go while something of it is alive");
        }
        let read = self.reading.map_or(0, |(from, _)| from);
        if read != self.agent.spool_bytes() {
            self.complain("is let go before all it said is read");
        }
    }

    /// Leaves a moment later: whoever has let go has nothing more to say.
    async fn lingers(&mut self) {
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(HOST_LINGERS, self.framed.next()).await {
            if let ws::Frame::Text(order) = frame {
                self.complain(&format!("is told {order:?} when it was let go"));
            }
        }
    }

    fn complain(&self, what: &str) {
        self.machine.complain(format!("attempt {} {what}", self.name.1));
    }

    async fn say(&mut self, message: FromHost) {
        let json = serde_json::to_string(&message).expect("a message is JSON");
        self.send(ws::Message::Text(json.into())).await;
    }

    /// A daemon that has let go hears nothing; the next look at the link says so.
    async fn send(&mut self, message: ws::Message) {
        let _ = self.framed.send(message).await;
    }
}

impl Drop for Link {
    /// A panic ends only the task that serves the link: the test has to hear of it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.complain("has a host that panicked");
        }
    }
}
