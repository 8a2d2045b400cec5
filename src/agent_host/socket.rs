//! One connection of the daemon: a websocket actor that sends spool bytes and passes on what it is asked.
//!
//! Such an actor is driven by the peer's reading: while the daemon does not read, nothing here runs. What must happen
//! all the same is therefore the keeper's, and what waits to be sent is bounded by the daemon's own window.

use std::time::Duration;

use actix::prelude::*;
use actix_web_actors::ws::{self, CloseCode, CloseReason, ProtocolError, WebsocketContext};
use serde::Deserialize;

use super::log;
use super::messages::{FromLink, KeeperAddress, Order, ToLink, Welcome};
use super::pace::Pace;
use super::protocol::{FromHost, ToHost, WINDOW_BYTES};
use super::tail::SpoolTail;

/// Delays between looks at the end of a spool that may still grow.
const LOOK: Pace = Pace::between(Duration::from_millis(2), Duration::from_millis(250));

/// The same for a spool of whose growth the daemon tells: it leaves out a nudge within a millisecond of another, which
/// the first look makes up for, and may miss one altogether only if the system drops it.
const NUDGED_LOOK: Pace = Pace::once_then(Duration::from_millis(2), Duration::from_secs(8));

/// Delay between two bursts of a read whose window is larger than [`WINDOW_BYTES`].
const BURST_PAUSE: Duration = Duration::from_millis(1);

/// The parts of an order that a newer daemon's have too.
#[derive(Deserialize)]
struct AnyOrder {
    op: String,
    id: Option<u64>,
}

/// The answer to a text frame that is no order of this version.
fn not_understood(text: &str, error: &serde_json::Error) -> FromHost {
    let error = format!("this host does not understand what it was sent: {error}");
    match serde_json::from_str(text) {
        Ok(AnyOrder { op, id }) => FromHost::NotUnderstood { op, id, error },
        Err(_) => FromHost::Trouble { error },
    }
}

/// One connection.
pub(super) struct HostConnection {
    keeper: KeeperAddress,
    /// Given by the keeper; tells it whether this is still the newest connection.
    number: Option<u64>,
    tail: SpoolTail,
    pace: Pace,
    /// The next look at the end of the spool.
    look: Option<SpawnHandle>,
    /// Whether the agent is known to have ended, so that the spool need not be watched.
    agent_ended: bool,
    /// Whether the daemon was told that the spool it reads was cut.
    told_cut: bool,
}

impl HostConnection {
    /// A connection that has yet to say hello.
    pub(super) fn new(keeper: KeeperAddress, tail: SpoolTail) -> Self {
        Self {
            keeper,
            number: None,
            tail,
            pace: LOOK,
            look: None,
            agent_ended: false,
            told_cut: false,
        }
    }

    fn say(&mut self, frame: FromHost, ctx: &mut WebsocketContext<Self>) {
        if matches!(frame, FromHost::Exited { .. }) {
            self.agent_ended = true;
        }
        match serde_json::to_string(&frame) {
            Ok(text) => ctx.text(text),
            Err(error) => log(format_args!("cannot encode {frame:?}: {error}")),
        }
    }

    fn trouble(&mut self, error: String, ctx: &mut WebsocketContext<Self>) {
        self.say(FromHost::Trouble { error }, ctx);
    }

    fn hear(&mut self, message: ToHost, ctx: &mut WebsocketContext<Self>) {
        match message {
            ToHost::Read { from, through, nudged } => {
                self.pace = if nudged { NUDGED_LOOK } else { LOOK };
                self.read(from, through, ctx);
            }
            ToHost::Window { through } => {
                self.tail.widen(through);
                self.pump(ctx);
            }
            ToHost::Nudge => {
                self.pace.reset();
                self.pump(ctx);
            }
            ToHost::Write { id, line } => self.order(Order::Write { id, line }),
            ToHost::Signal { signal } => self.order(Order::Signal(signal)),
            ToHost::CountChildren => self.order(Order::CountChildren),
            ToHost::EndLeftovers => self.order(Order::EndLeftovers),
            ToHost::Release => self.order(Order::Release),
        }
    }

    fn read(&mut self, from: u64, through: u64, ctx: &mut WebsocketContext<Self>) {
        match self.tail.spool_bytes() {
            Ok(bytes) if from <= bytes => {}
            Ok(bytes) => self.trouble(
                format!("the spool ends at {bytes}, before the offset {from} asked for"),
                ctx,
            ),
            Err(error) => self.trouble(format!("cannot look at the spool: {error}"), ctx),
        }
        self.tail.read(from, through);
        self.told_cut = false;
        self.pump(ctx);
    }

    fn order(&self, order: Order) {
        if let Some(link) = self.number {
            self.keeper.tell(FromLink::Asked { link, order });
        }
    }

    /// Sends what may be sent and is there, and sees to the next look if something is still asked for.
    fn pump(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Some(look) = self.look.take() {
            ctx.cancel_future(look);
        }
        let sent = match self.send_burst(ctx) {
            Ok(sent) => sent,
            Err(error) => return self.trouble(format!("cannot read the spool: {error}"), ctx),
        };
        if sent > 0 {
            self.pace.reset();
            self.keeper.tell(FromLink::SpoolGrew);
        } else if let Ok(Some(spool_bytes)) = self.tail.cut()
            && !std::mem::replace(&mut self.told_cut, true)
        {
            self.say(FromHost::SpoolCut { spool_bytes }, ctx);
        }
        let at_its_end = self.agent_ended && sent == 0;
        if at_its_end || !self.tail.is_outstanding() {
            return;
        }
        let delay = if sent >= WINDOW_BYTES {
            BURST_PAUSE
        } else {
            self.pace.step()
        };
        self.look = Some(ctx.run_later(delay, |link, ctx| {
            link.look = None;
            link.pump(ctx);
        }));
    }

    /// At most a window's worth, however much is asked for: the queue in the context has no bound of its own.
    fn send_burst(&mut self, ctx: &mut WebsocketContext<Self>) -> std::io::Result<u64> {
        let mut sent = 0;
        while sent < WINDOW_BYTES
            && let Some(frame) = self.tail.next_frame()?
        {
            sent += frame.len() as u64;
            ctx.binary(frame);
        }
        Ok(sent)
    }
}

impl Actor for HostConnection {
    type Context = WebsocketContext<Self>;

    /// Nothing that the daemon says is looked at before the hello has gone out.
    fn started(&mut self, ctx: &mut Self::Context) {
        let welcome = self.keeper.attach(ctx.address().recipient()).into_actor(self);
        ctx.wait(welcome.map(|answer, link, ctx| match answer {
            Ok(Welcome { link: number, frames }) => {
                link.number = Some(number);
                frames.into_iter().for_each(|frame| link.say(frame, ctx));
            }
            Err(_) => ctx.stop(),
        }));
    }
}

impl Drop for HostConnection {
    /// However a connection ends, be it with a context that was never polled again, the keeper learns of it.
    fn drop(&mut self) {
        if let Some(link) = self.number {
            self.keeper.tell(FromLink::Detach { link });
        }
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for HostConnection {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Text(text)) => match serde_json::from_str(&text) {
                Ok(message) => self.hear(message, ctx),
                Err(error) => self.say(not_understood(&text, &error), ctx),
            },
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(ws::Message::Binary(_) | ws::Message::Continuation(_)) => {
                self.trouble("a host takes whole text frames only".to_owned(), ctx);
            }
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Err(ProtocolError::Io(_)) => ctx.stop(),
            Err(error) => {
                log(format_args!("the daemon broke the websocket protocol: {error}"));
                ctx.stop();
            }
        }
    }
}

impl Handler<ToLink> for HostConnection {
    type Result = ();

    fn handle(&mut self, message: ToLink, ctx: &mut Self::Context) {
        match message {
            ToLink::Say(frame) => {
                // What the agent wrote before its end goes out before the news of it, as far as the window allows.
                if matches!(frame, FromHost::Exited { .. }) {
                    self.pump(ctx);
                }
                self.say(frame, ctx);
            }
            ToLink::Superseded => {
                let description = Some("a newer connection has taken over".to_owned());
                ctx.close(Some(CloseReason {
                    code: CloseCode::Policy,
                    description,
                }));
                ctx.stop();
            }
        }
    }
}
