//! The keeper: the one actor that holds the agent, writes its stdin and knows how it ended.
//!
//! It runs on a thread of its own beside the connections, so that a daemon that does not read its socket holds up
//! nothing here.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::adopt::Adoption;
use super::listen::HostSocketFile;
use super::mark::Mark;
use super::messages::{AgentEnded, Attach, FromLink, KeeperAddress, Leave, Order, ToLink, Welcome};
use super::pace::Pace;
use super::process;
use super::protocol::{AgentExit, AgentProcess, FromHost, LaunchPlan, PROTOCOL_VERSION, files};
use super::reserve::Reserve;
use super::stdin::Stdin;
use super::{leftovers, log};
use crate::disk;

/// How often the socket file and the spool's reserve are looked at.
const ROUND: Duration = Duration::from_secs(30);

/// How long a host stays whose agent has ended while nobody is connected. Whoever comes later starts another one.
const ALONE_MAX: Duration = Duration::from_secs(10);

/// Delays between looks whether the agent has read the line before.
const STDIN_PACE: Pace = Pace::between(Duration::from_millis(1), Duration::from_millis(50));

/// How many messages of trouble are kept for a daemon that is away.
const TROUBLES_MAX: usize = 16;

/// How much of the agent's stderr rides along with the news of its end.
const STDERR_TAIL_BYTES: u64 = 8 * 1024;

/// The agent and all that is done for it.
pub(super) struct Keeper {
    plan: LaunchPlan,
    agent: HeldAgent,
    /// Which process the agent is or was.
    process: Option<AgentProcess>,
    adopted: bool,
    stdin: Stdin,
    stdin_pace: Pace,
    /// Whether the stdin is looked at again by itself.
    stdin_is_timed: bool,
    /// Open for as long as the host lives, so that it is the agent's output whatever becomes of its name.
    spool: Arc<File>,
    reserve: Reserve,
    leftovers: Leftovers,
    /// What went wrong while no daemon was there.
    troubles: Vec<String>,
    door: HostSocketFile,
    /// The newest connection and its number.
    link: Option<(u64, Recipient<ToLink>)>,
    links_seen: u64,
    /// Used when the host is to exit.
    done: Option<oneshot::Sender<()>>,
}

/// The agent as this host holds it.
enum HeldAgent {
    Living { pidfd: Arc<OwnedFd>, child: Option<Child> },
    Gone { exit: AgentExit },
}

/// How far the ending of leftovers is.
struct Leftovers {
    mark: Mark,
    /// They hold the lock of an agent that has ended, so they are ended without being asked.
    hold_the_lock: bool,
    /// They are being ended at this moment.
    ending: bool,
    /// The daemon waits to hear that they are gone.
    asked: bool,
    /// Which were ended; the daemon has not heard of them yet.
    ended: Vec<String>,
}

impl Keeper {
    /// Takes the agent as it was found; `done` is used when the daemon releases this host.
    pub(super) fn new(
        plan: LaunchPlan,
        found: Adoption,
        door: HostSocketFile,
        done: oneshot::Sender<()>,
    ) -> io::Result<Self> {
        let adopted = matches!(found, Adoption::Adopted(_));
        let hold_the_lock = matches!(found, Adoption::Gone { lock_is_held: true, .. });
        let (agent, process, stdin, spool) = match found {
            Adoption::Started(living) | Adoption::Adopted(living) => {
                let (stdin, spool) = (Stdin::open(&living.stdin()), living.spool());
                let agent = HeldAgent::Living {
                    pidfd: Arc::new(living.pidfd),
                    child: living.child,
                };
                (agent, Some(living.process), stdin, spool)
            }
            Adoption::Gone { process, exit, .. } => {
                process::leave_transcript(&plan);
                (HeldAgent::Gone { exit }, process, Stdin::closed(), files::SPOOL.into())
            }
        };
        let spool = disk::open_spool(&spool).or_else(|_| disk::open_spool(Path::new(files::SPOOL)))?;
        let spool = Arc::new(spool);
        let mark = plan.attempt_mark();
        Ok(Self {
            agent,
            process,
            adopted,
            stdin,
            stdin_pace: STDIN_PACE,
            stdin_is_timed: false,
            reserve: Reserve::of(Arc::clone(&spool), plan.spool_reserve_bytes),
            spool,
            leftovers: Leftovers {
                mark,
                hold_the_lock,
                ending: false,
                asked: false,
                ended: Vec::new(),
            },
            troubles: Vec::new(),
            door,
            link: None,
            links_seen: 0,
            done: Some(done),
            plan,
        })
    }

    fn say(&self, frame: FromHost) {
        if let Some((_, link)) = &self.link {
            link.do_send(ToLink::Say(frame));
        }
    }

    fn trouble(&mut self, error: String) {
        log(format_args!("{error}"));
        if self.link.is_some() {
            self.say(FromHost::Trouble { error });
        } else if self.troubles.len() < TROUBLES_MAX {
            self.troubles.push(error);
        }
    }

    fn watch_agent(&mut self, ctx: &mut Context<Self>) {
        let HeldAgent::Living { pidfd, .. } = &self.agent else {
            return;
        };
        let (pidfd, keeper) = (Arc::clone(pidfd), ctx.address());
        if let Err(error) = process::watch_end(pidfd, move |answer| keeper.do_send(AgentEnded(answer))) {
            self.trouble(format!(
                "cannot watch the agent: {error}; end this host to have another try"
            ));
        }
    }

    /// The spool is measured after the end, so that its length is final.
    fn agent_ended(&mut self, ctx: &mut Context<Self>) {
        let exit = match &mut self.agent {
            HeldAgent::Living { child: Some(child), .. } => child.wait().map_or(AgentExit::Unknown, process::exit_of),
            HeldAgent::Living { child: None, .. } => AgentExit::Unknown,
            HeldAgent::Gone { .. } => return,
        };
        process::record_exit(&exit);
        // Before anybody hears of the end: the next attempt may begin at once.
        process::leave_transcript(&self.plan);
        log(format_args!("the agent has ended: {exit:?}"));
        self.agent = HeldAgent::Gone { exit: exit.clone() };
        self.stdin.close().into_iter().for_each(|refused| self.say(refused));
        self.say(self.exited(exit));
        self.leave_if_alone(ctx);
    }

    /// Without an agent and without a daemon there is nothing to do: the session may have ended long ago, and then
    /// nobody would ever come to release this host.
    fn leave_if_alone(&mut self, ctx: &mut Context<Self>) {
        let is_needed = |keeper: &Self| matches!(keeper.agent, HeldAgent::Living { .. }) || keeper.link.is_some();
        if is_needed(self) {
            return;
        }
        let links_seen = self.links_seen;
        ctx.run_later(ALONE_MAX, move |keeper, ctx| {
            if is_needed(keeper) || keeper.links_seen != links_seen {
                return;
            }
            if keeper.leftovers.ending {
                return keeper.leave_if_alone(ctx);
            }
            log(format_args!("nobody comes for what the agent wrote: this host ends"));
            keeper.reserve.give_back();
            keeper.leave();
        });
    }

    fn write(&mut self, id: u64, line: String, ctx: &mut Context<Self>) {
        match self.stdin.push(id, line) {
            Ok(()) => self.advance_stdin(ctx),
            Err(refused) => self.say(refused),
        }
    }

    fn advance_stdin(&mut self, ctx: &mut Context<Self>) {
        let answers = self.stdin.advance();
        if !answers.is_empty() {
            self.stdin_pace.reset();
        }
        answers.into_iter().for_each(|answer| self.say(answer));
        if self.stdin.is_waiting() && !self.stdin_is_timed {
            self.stdin_is_timed = true;
            ctx.run_later(self.stdin_pace.step(), |keeper, ctx| {
                keeper.stdin_is_timed = false;
                keeper.advance_stdin(ctx);
            });
        }
    }

    fn signal(&mut self, signal: i32) {
        let sent = match &self.agent {
            HeldAgent::Living { pidfd, .. } => process::signal(pidfd, signal),
            HeldAgent::Gone { .. } => Err(format!("signal {signal} was not sent: the agent has ended")),
        };
        if let Err(error) = sent {
            self.trouble(error);
        }
    }

    /// A run that is going on serves whoever asks meanwhile, since it ends only when nothing is left.
    fn end_leftovers(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.leftovers.ending, true) {
            return;
        }
        let spare = if let HeldAgent::Living { .. } = self.agent {
            self.process
        } else {
            None
        };
        let mark = self.leftovers.mark.clone();
        let end = async move { leftovers::end(&mark, spare).await };
        ctx.spawn(end.into_actor(self).map(|ended, keeper, _| {
            keeper.leftovers.ending = false;
            keeper.leftovers.ended.extend(ended);
            if std::mem::take(&mut keeper.leftovers.asked) {
                let processes = leftovers::list(std::mem::take(&mut keeper.leftovers.ended));
                keeper.say(FromHost::LeftoversEnded { processes });
            }
        }));
    }

    fn release(&mut self) {
        match self.agent {
            HeldAgent::Living { .. } => self.trouble("this host is not released: its agent lives".to_owned()),
            HeldAgent::Gone { .. } => {
                self.reserve.give_back();
                self.leave();
            }
        }
    }

    fn leave(&mut self) {
        self.door.remove();
        if let Some(done) = self.done.take() {
            let _ = done.send(());
        }
    }

    fn renew_reserve(&mut self) {
        if let HeldAgent::Living { .. } = self.agent
            && let Err(error) = self.reserve.renew()
        {
            self.trouble(format!(
                "cannot keep disk space for the agent's output: {error}; make room on the disk"
            ));
        }
    }

    /// Only while nobody is connected: a daemon that is does not need the socket file.
    fn mend_door(&mut self, ctx: &mut Context<Self>) {
        let is_alone = self.link.as_ref().is_none_or(|(_, link)| !link.connected());
        if is_alone
            && self.done.is_some()
            && let Err(error) = self.door.mend(&KeeperAddress::of(&ctx.address()), &self.spool)
        {
            self.trouble(format!("cannot bind the socket anew: {error}"));
        }
    }

    fn detach(&mut self, link: u64, ctx: &mut Context<Self>) {
        if self.link.as_ref().is_some_and(|(newest, _)| *newest == link) {
            self.link = None;
            self.leftovers.asked = false;
            self.mend_door(ctx);
            self.leave_if_alone(ctx);
        }
    }

    /// Ignores the orders of a connection that is no longer the newest: its peer may have sent them long ago.
    fn obey(&mut self, link: u64, order: Order, ctx: &mut Context<Self>) {
        if self.link.as_ref().is_none_or(|(newest, _)| *newest != link) {
            return;
        }
        match order {
            Order::Write { id, line } => self.write(id, line, ctx),
            Order::Signal(signal) => self.signal(signal),
            Order::CountChildren => {
                self.say(leftovers::count(&self.leftovers.mark, self.process));
            }
            Order::EndLeftovers => {
                self.leftovers.asked = true;
                self.end_leftovers(ctx);
            }
            Order::Release => self.release(),
        }
    }

    fn hello(&self) -> FromHost {
        FromHost::Hello {
            protocol: PROTOCOL_VERSION,
            session: self.plan.session,
            attempt: self.plan.attempt,
            host_pid: std::process::id().cast_signed(),
            agent: self.process,
            exit: match &self.agent {
                HeldAgent::Living { .. } => None,
                HeldAgent::Gone { exit } => Some(exit.clone()),
            },
            adopted: self.adopted,
            spool_bytes: disk::length(&self.spool),
        }
    }

    fn exited(&self, exit: AgentExit) -> FromHost {
        let stderr_tail = disk::tail(Path::new(files::STDERR), STDERR_TAIL_BYTES);
        FromHost::Exited {
            exit,
            spool_bytes: disk::length(&self.spool),
            stderr_tail,
        }
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.watch_agent(ctx);
        self.renew_reserve();
        if self.leftovers.hold_the_lock {
            self.end_leftovers(ctx);
        }
        if let Err(error) = self.door.open(&KeeperAddress::of(&ctx.address()), &self.spool) {
            log(format_args!("cannot serve the socket: {error}"));
            return self.leave();
        }
        self.leave_if_alone(ctx);
        ctx.run_interval(ROUND, |keeper, ctx| {
            keeper.mend_door(ctx);
            keeper.renew_reserve();
        });
    }
}

impl Handler<Attach> for Keeper {
    type Result = Welcome;

    /// Of an agent that has ended, its end follows the hello at once.
    fn handle(&mut self, Attach(link): Attach, _: &mut Self::Context) -> Welcome {
        self.links_seen += 1;
        if let Some((_, before)) = self.link.replace((self.links_seen, link)) {
            before.do_send(ToLink::Superseded);
        }
        let mut frames = vec![self.hello()];
        if let HeldAgent::Gone { exit } = &self.agent {
            frames.push(self.exited(exit.clone()));
        }
        frames.extend(self.troubles.drain(..).map(|error| FromHost::Trouble { error }));
        Welcome {
            link: self.links_seen,
            frames,
        }
    }
}

impl Handler<FromLink> for Keeper {
    type Result = ();

    fn handle(&mut self, message: FromLink, ctx: &mut Self::Context) {
        match message {
            FromLink::Detach { link } => self.detach(link, ctx),
            FromLink::Asked { link, order } => self.obey(link, order, ctx),
            FromLink::SpoolGrew => self.renew_reserve(),
        }
    }
}

impl Handler<AgentEnded> for Keeper {
    type Result = ();

    fn handle(&mut self, AgentEnded(answer): AgentEnded, ctx: &mut Self::Context) {
        match answer {
            Ok(()) => self.agent_ended(ctx),
            Err(error) => self.trouble(format!("cannot watch the agent any more: {error}")),
        }
    }
}

impl Handler<Leave> for Keeper {
    type Result = ();

    fn handle(&mut self, _: Leave, _: &mut Self::Context) {
        self.leave();
    }
}
