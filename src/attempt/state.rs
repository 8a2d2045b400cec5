//! The states of an attempt. Each owns what makes sense in it alone.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::agent_host::protocol::Exit;
use crate::session::id::QuestionId;
use crate::session::outcome::Ending;

/// Where an attempt stands.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// No link to the host is open, and one is to be had.
    Reaching(Reach),
    /// A link is open, and the host has not said hello.
    Greeting(Reach),
    /// The host serves the link, and the agent is at work.
    Working(Talk),
    /// The agent is being ended, or has ended.
    Closing(Closing),
    /// The supervisor was told of the end, and the host let go.
    Released,
}

/// The link to the host while an attempt closes.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// As in [`State::Reaching`].
    Reaching(Reach),
    /// As in [`State::Greeting`].
    Greeting(Reach),
    /// The host serves the link.
    Talking(Talk),
}

/// The way to a host.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// How often in a row it was reached for in vain though its agent lives.
    pub failed: u32,
    /// How often in a row the link was lost before the host said hello.
    pub links_lost: u32,
    /// What is awaited.
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
    pub link: Link,
    /// Why we end the agent, where we do.
    pub ending: Option<Ending>,
    /// How the agent ended and how long its spool is, once it has.
    pub gone: Option<(Exit, u64)>,
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
    fn new(link: Link, ending: Option<Ending>) -> Self {
        Self {
            link,
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

impl From<Link> for State {
    fn from(link: Link) -> Self {
        match link {
            Link::Reaching(reach) => Self::Reaching(reach),
            Link::Greeting(reach) => Self::Greeting(reach),
            Link::Talking(talk) => Self::Working(talk),
        }
    }
}

impl State {
    pub(super) fn beginning(end_with: Option<Ending>) -> Self {
        let reach = Reach::default();
        match end_with {
            Some(ending) => Self::Closing(Closing::new(Link::Reaching(reach), Some(ending))),
            None => Self::Reaching(reach),
        }
    }

    /// Begins to close, for this reason if the agent has not ended by itself; the first reason stands.
    pub(super) fn close(&mut self, ending: Option<Ending>) {
        let link = match std::mem::replace(self, Self::Released) {
            Self::Reaching(reach) => Link::Reaching(reach),
            Self::Greeting(reach) => Link::Greeting(reach),
            Self::Working(talk) => Link::Talking(talk),
            Self::Closing(closing) => return *self = Self::Closing(closing),
            Self::Released => return,
        };
        *self = Self::Closing(Closing::new(link, ending));
    }

    /// Changes how things stand with the link.
    pub(super) fn set_link(&mut self, link: Link) {
        match self {
            Self::Closing(closing) => closing.link = link,
            Self::Reaching(_) | Self::Greeting(_) | Self::Working(_) => *self = link.into(),
            Self::Released => {}
        }
    }

    pub(super) fn closing(&self) -> Option<&Closing> {
        match self {
            Self::Closing(closing) => Some(closing),
            Self::Reaching(_) | Self::Greeting(_) | Self::Working(_) | Self::Released => None,
        }
    }

    pub(super) fn closing_mut(&mut self) -> Option<&mut Closing> {
        match self {
            Self::Closing(closing) => Some(closing),
            Self::Reaching(_) | Self::Greeting(_) | Self::Working(_) | Self::Released => None,
        }
    }

    /// The way to the host, while no link is open.
    pub(super) fn reach_mut(&mut self) -> Option<&mut Reach> {
        match self {
            Self::Reaching(reach) => Some(reach),
            Self::Closing(closing) => match &mut closing.link {
                Link::Reaching(reach) => Some(reach),
                Link::Greeting(_) | Link::Talking(_) => None,
            },
            Self::Greeting(_) | Self::Working(_) | Self::Released => None,
        }
    }

    /// The way to the host that was gone, while it has not said hello on the link.
    pub(super) fn greeting(&self) -> Option<&Reach> {
        match self {
            Self::Greeting(reach) => Some(reach),
            Self::Closing(closing) => match &closing.link {
                Link::Greeting(reach) => Some(reach),
                Link::Reaching(_) | Link::Talking(_) => None,
            },
            Self::Reaching(_) | Self::Working(_) | Self::Released => None,
        }
    }

    /// True if the agent lives without a host that answers.
    pub(super) fn is_host_failing(&self) -> bool {
        match self {
            Self::Reaching(reach) | Self::Greeting(reach) => reach.failed > 0,
            Self::Working(_) | Self::Closing(_) | Self::Released => false,
        }
    }

    pub(super) fn talk(&self) -> Option<&Talk> {
        match self {
            Self::Working(talk) => Some(talk),
            Self::Closing(closing) => match &closing.link {
                Link::Talking(talk) => Some(talk),
                Link::Reaching(_) | Link::Greeting(_) => None,
            },
            Self::Reaching(_) | Self::Greeting(_) | Self::Released => None,
        }
    }

    pub(super) fn talk_mut(&mut self) -> Option<&mut Talk> {
        match self {
            Self::Working(talk) => Some(talk),
            Self::Closing(closing) => match &mut closing.link {
                Link::Talking(talk) => Some(talk),
                Link::Reaching(_) | Link::Greeting(_) => None,
            },
            Self::Reaching(_) | Self::Greeting(_) | Self::Released => None,
        }
    }
}
