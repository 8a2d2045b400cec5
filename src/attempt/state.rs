//! The states of an attempt. Each owns what makes sense in it alone.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::agent_host::protocol::AgentExit;
use crate::session::id::QuestionId;
use crate::session::outcome::Ending;

/// Where an attempt stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// The agent is to work, and does once its host serves the link.
    Open(Link),
    /// The agent is being ended, or has ended.
    Closing(Link, Closing),
    /// The supervisor was told of the end, and the host let go.
    Released,
}

/// The link to the host.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// None is open, and one is to be had.
    Reaching(HostReach),
    /// One is open, and the host has not said hello.
    Greeting(HostReach),
    /// The host serves it.
    Talking(Talk),
}

/// The way to a host.
#[derive(Clone, Debug, Default)]
pub(super) struct HostReach {
    /// How often in a row it was reached for in vain though its agent lives.
    pub failed: u32,
    /// How often in a row the link was lost before the host said hello.
    pub links_lost: u32,
    /// The step that is under way.
    pub step: ReachStep,
}

/// What an attempt without a link waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ReachStep {
    /// The link.
    #[default]
    Connecting,
    /// Word of whether anything of the agent is alive.
    Looking,
    /// The time to try again.
    Pausing,
    /// The end of everything that is alive, since the agent is to end.
    Ending,
}

/// What goes on between daemon and agent on one link.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    /// How far the host may send, as an offset in the spool.
    pub window: u64,
    /// Lines whose answer from the host has not come.
    pub writing: BTreeMap<u64, Purpose>,
    /// Answers that were written on this link.
    pub answers_sent: BTreeSet<QuestionId>,
    /// Those that are in the agent's pipe, and after which it has said nothing yet.
    pub answers_in_pipe: Vec<QuestionId>,
    /// Messages that were written on this link, or whose file is being written.
    pub messages_sent: BTreeSet<Uuid>,
    /// A message that has to stand in a file; those behind it wait for that.
    pub filing: Option<Uuid>,
}

/// What a line was written to the agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A message; whether the line only names the file that it stands in.
    Input { uuid: Uuid, is_in_file: bool },
    /// An answer, and how far the agent's output was read when it was written.
    Answer { question_id: QuestionId, position: u64 },
    /// A control request.
    Control,
}

/// How far the end of an attempt has come.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    /// Why we end the agent, where we do.
    pub ending: Option<Ending>,
    /// How the agent ended and how long its spool is, once it has.
    pub gone: Option<(AgentExit, u64)>,
    /// The last line of its stderr.
    pub last_words: String,
    /// A host that finds a dead agent may end what it left behind unasked, and has that to tell.
    pub found_gone: bool,
    /// The journal says that the spool was cut.
    pub is_cut_told: bool,
    /// TERM and KILL are to follow.
    pub insists: (bool, bool),
    pub stage: Stage,
}

/// What happens after the agent is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its output is read to the end.
    Reading,
    /// What it left behind is being ended.
    Leftovers,
}

impl Talk {
    pub(super) fn with_window(window: u64) -> Self {
        Self {
            window,
            writing: BTreeMap::new(),
            answers_sent: BTreeSet::new(),
            answers_in_pipe: Vec::new(),
            messages_sent: BTreeSet::new(),
            filing: None,
        }
    }

    /// Answers of which nobody knows yet whether they stand in the agent's pipe.
    pub(super) fn answers_under_way(&self) -> impl Iterator<Item = QuestionId> + '_ {
        self.writing.values().filter_map(|purpose| match purpose {
            Purpose::Answer { question_id, .. } => Some(*question_id),
            Purpose::Input { .. } | Purpose::Control => None,
        })
    }
}

impl Closing {
    fn new(ending: Option<Ending>) -> Self {
        Self {
            ending,
            gone: None,
            last_words: String::new(),
            found_gone: false,
            is_cut_told: false,
            insists: (false, false),
            stage: Stage::Reading,
        }
    }

    pub(super) fn is_agent_gone(&self) -> bool {
        self.found_gone || self.gone.is_some()
    }
}

impl State {
    pub(super) fn beginning(end_with: Option<Ending>) -> Self {
        let link = Link::Reaching(HostReach::default());
        match end_with {
            Some(ending) => Self::Closing(link, Closing::new(Some(ending))),
            None => Self::Open(link),
        }
    }

    /// Begins to close, for this reason if the agent has not ended by itself; the first reason stands.
    pub(super) fn close(&mut self, ending: Option<Ending>) {
        if let Self::Open(link) = self {
            let link = std::mem::replace(link, Link::Reaching(HostReach::default()));
            *self = Self::Closing(link, Closing::new(ending));
        }
    }

    fn link(&self) -> Option<&Link> {
        match self {
            Self::Open(link) | Self::Closing(link, _) => Some(link),
            Self::Released => None,
        }
    }

    fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Self::Open(link) | Self::Closing(link, _) => Some(link),
            Self::Released => None,
        }
    }

    /// Changes how things stand with the link.
    pub(super) fn set_link(&mut self, to: Link) {
        if let Some(link) = self.link_mut() {
            *link = to;
        }
    }

    pub(super) fn closing(&self) -> Option<&Closing> {
        match self {
            Self::Closing(_, closing) => Some(closing),
            Self::Open(_) | Self::Released => None,
        }
    }

    pub(super) fn closing_mut(&mut self) -> Option<&mut Closing> {
        match self {
            Self::Closing(_, closing) => Some(closing),
            Self::Open(_) | Self::Released => None,
        }
    }

    /// The way to the host, while no link is open.
    pub(super) fn reach_mut(&mut self) -> Option<&mut HostReach> {
        match self.link_mut()? {
            Link::Reaching(reach) => Some(reach),
            Link::Greeting(_) | Link::Talking(_) => None,
        }
    }

    /// The way to the host that was gone, while it has not said hello on the link.
    pub(super) fn greeting(&self) -> Option<&HostReach> {
        match self.link()? {
            Link::Greeting(reach) => Some(reach),
            Link::Reaching(_) | Link::Talking(_) => None,
        }
    }

    /// True if the agent lives without a host that answers.
    pub(super) fn is_host_failing(&self) -> bool {
        match self {
            Self::Open(Link::Reaching(reach) | Link::Greeting(reach)) => reach.failed > 0,
            Self::Open(Link::Talking(_)) | Self::Closing(..) | Self::Released => false,
        }
    }

    pub(super) fn talk(&self) -> Option<&Talk> {
        match self.link()? {
            Link::Talking(talk) => Some(talk),
            Link::Reaching(_) | Link::Greeting(_) => None,
        }
    }

    pub(super) fn talk_mut(&mut self) -> Option<&mut Talk> {
        match self.link_mut()? {
            Link::Talking(talk) => Some(talk),
            Link::Reaching(_) | Link::Greeting(_) => None,
        }
    }

    /// What goes on with an agent that is at work.
    pub(super) fn work_mut(&mut self) -> Option<&mut Talk> {
        match self {
            Self::Open(Link::Talking(talk)) => Some(talk),
            Self::Open(_) | Self::Closing(..) | Self::Released => None,
        }
    }

    /// True if the host serves the link, and the agent is not to end.
    pub(super) fn is_working(&self) -> bool {
        matches!(self, Self::Open(Link::Talking(_)))
    }
}
