//! The rights of a session that an agent asks for: never more than those of the session whose agent asks.
//!
//! An agent decides by itself what it asks for, so everything that a request can bring is judged here. The request is
//! taken apart field by field: a new field does not compile before somebody has said what an agent may do with it.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use super::amounts::{money, usd};
use super::clarify::Clarify;

use super::grant::Grant;
use super::id::SessionId;
use super::question::{Answer, QuestionKind};
use super::request::{OnQuestion, PermissionMode, Request, is_inline};
use super::summary::{Effective, Summary};

/// The rights of a session, as far as it can pass them on.
#[derive(Clone, Debug, PartialEq)]
pub struct Rights {
    /// The session whose agent asks.
    pub session: SessionId,
    /// The permission mode in force.
    pub mode: PermissionMode,
    /// Tools that need no permission, those granted meanwhile included.
    pub allowed_tools: Vec<String>,
    /// Tools that are refused.
    pub disallowed_tools: Vec<String>,
    /// Where its agent works, and the directories added; absolute and without links.
    pub directories: Vec<PathBuf>,
    /// What happens to its own questions that nobody answers.
    pub on_question: OnQuestion,
    /// How many agents stand above it.
    pub depth: u32,
    /// What is left of its budget in US dollars; none if it has no budget.
    pub left_usd: Option<f64>,
}

/// Why an agent does not get what it asks for; each says what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Excess {
    /// The mode is wider than that of the session whose agent asks.
    #[error(
        "the permission mode {} is wider than {}, which is in force in the session whose agent asks: ask for {} or a \
         narrower one, or have a person start the session",
        asked.name(), own.name(), own.name()
    )]
    Mode {
        /// The mode asked for.
        asked: PermissionMode,
        /// The mode of the session whose agent asks.
        own: PermissionMode,
    },
    /// A tool is to need no permission that needs one in the session whose agent asks.
    #[error(
        "the rule {0:?} is not among the allowed tools of the session whose agent asks: leave it out, and a person is \
         asked when the tool is used"
    )]
    Rule(String),
    /// The directory is none of those of the session whose agent asks.
    #[error(
        "{} is outside of the directories of the session whose agent asks: work in one of {}, or have a person start the \
         session",
        path.display(), listed(own)
    )]
    Directory {
        /// The directory asked for.
        path: PathBuf,
        /// Those of the session whose agent asks.
        own: Vec<PathBuf>,
    },
    /// Questions are to be allowed without a person.
    #[error(
        "an agent cannot have questions allowed without a person: leave on_question out, or give wait, deny or \
         first_option"
    )]
    AllowsQuestions,
    /// A project is to start by itself what it brings.
    #[error(
        "an agent cannot trust a project: leave trust_project (--trust-project) out, and a person is asked what may start"
    )]
    TrustsProject,
    /// An MCP configuration is given as a file.
    #[error(
        "an agent cannot give an MCP configuration as a file, {0:?}: give the JSON itself, so that a person is shown what it \
         starts"
    )]
    NamesFile(String),
    /// MCP servers and variables are more than a person can be asked to read.
    #[error(
        "the MCP servers and variables that this agent asks for are {bytes} bytes for a person to read, and more than {most} \
         are not asked about: ask for less, or have a person start the session"
    )]
    LongQuestion {
        /// Its size in bytes.
        bytes: usize,
        /// The most that is asked about.
        most: usize,
    },
    /// The budget is more than what is left.
    #[error(
        "a budget of {} is more than the {} that the session whose agent asks has left, its live sessions' budgets taken \
         off: ask for less",
        usd(*asked), usd(*left)
    )]
    Budget {
        /// What was asked for, in US dollars.
        asked: f64,
        /// What is left, in US dollars.
        left: f64,
    },
    /// Nothing is left of the budget.
    #[error(
        "the session whose agent asks has nothing left of its budget, what its live sessions may still spend taken off: \
         wait for them, or give each a max_budget_usd of its own when it is started"
    )]
    Broke,
    /// An answer would let the asking session do what the session whose agent answers may not.
    #[error(
        "this answer gives more than the session whose agent answers may do itself ({0}): deny, or leave the question to \
         a person"
    )]
    Answer(String),
}

impl Rights {
    /// The rights of a session. `effective` are its terms, `directories` where it may work, without links, and
    /// `committed` what the sessions that its agent asked for have spent or may still spend, in US dollars.
    pub fn of(
        request: &Request,
        summary: &Summary,
        effective: &Effective,
        directories: Vec<PathBuf>,
        committed: f64,
    ) -> Self {
        let in_force = effective.terms.applied_to(Cow::Borrowed(request));
        // An analysis changes nothing, and has no rules, whatever the session may do after it.
        let (mode, allowed_tools) = match summary.lifecycle.clarify {
            Clarify::Analysing | Clarify::Asking { .. } => (PermissionMode::Plan, Vec::new()),
            Clarify::Unasked | Clarify::Settled => (in_force.asked_mode(), in_force.allowed_tools.clone()),
        };
        let budget = summary.limits_in_force(request).max_budget_usd;
        Self {
            session: summary.session_id,
            mode,
            allowed_tools,
            disallowed_tools: in_force.disallowed_tools.clone(),
            directories,
            on_question: in_force.on_question,
            depth: request.depth,
            left_usd: budget.map(|budget| left(budget, summary.usage.cost_usd, committed)),
        }
    }

    /// The request as it is accepted from this session's agent: bounded by these rights, or refused where it names more.
    /// `request` has absolute directories without links.
    /// `default_budget_usd` is the daemon's default budget in US dollars.
    ///
    /// MCP configurations and variables are held by no permission: see [`Rights::has_what_it_brings`].
    pub fn admit(&self, request: Request, default_budget_usd: Option<f64>) -> Result<Request, Excess> {
        self.check(&request)?;
        let mut request = request;
        if !request.asked_mode().is_within(self.mode) {
            request.permission_mode = Some(self.mode);
        }
        for denied in &self.disallowed_tools {
            if !request.disallowed_tools.contains(denied) {
                request.disallowed_tools.push(denied.clone());
            }
        }
        request.max_budget_usd = self.budget(request.max_budget_usd, default_budget_usd)?;
        request.depth = self.depth.saturating_add(1).max(request.depth);
        request.parent = Some(self.session);
        Ok(request)
    }

    /// Errors unless a session with these rights may go on at this agent's word: a person may have given it more since.
    pub fn check_going_on(&self, its: &Self) -> Result<(), Excess> {
        self.check_mode(Some(its.mode))?;
        if self.is_unbounded() {
            return Ok(());
        }
        self.check_rules(&its.allowed_tools)?;
        its.directories.iter().try_for_each(|path| self.check_directory(path))
    }

    fn check(&self, request: &Request) -> Result<(), Excess> {
        let Request {
            // What the agent is told and how it says its answer runs nothing by itself.
            task: _,
            name: _,
            model: _,
            append_system_prompt: _,
            json_schema: _,
            clarify: _,
            origin: _,
            // Bounds, which only make it less.
            max_turns: _,
            timeout_seconds: _,
            question_timeout_seconds: _,
            checkpoint_interval_seconds: _,
            // They are added to those of the session whose agent asks.
            disallowed_tools: _,
            // They end with the marks that their processes carry.
            keep_background: _,
            background_shells: _,
            umask: _,
            // Only an agent that has the tools can ask at all.
            executor_tools: _,
            // Names without values. A person is asked about variables.
            env_names: _,
            // Set from the session whose agent asks.
            max_budget_usd: _,
            depth: _,
            parent: _,
            cwd,
            permission_mode,
            allowed_tools,
            mcp_config,
            add_dirs,
            on_question,
            trust_project,
        } = request;
        self.check_mode(*permission_mode)?;
        if self.is_unbounded() {
            return Ok(());
        }
        self.check_rules(allowed_tools)?;
        std::iter::once(cwd)
            .chain(add_dirs)
            .try_for_each(|path| self.check_directory(path))?;
        if *on_question == OnQuestion::Allow && self.on_question != OnQuestion::Allow {
            return Err(Excess::AllowsQuestions);
        }
        // What the text says is what a person is asked about. A file is read with the daemon's rights, not the agent's.
        if let Some(file) = mcp_config.iter().find(|config| !is_inline(config)) {
            return Err(Excess::NamesFile(file.clone()));
        }
        match trust_project {
            true => Err(Excess::TrustsProject),
            false => Ok(()),
        }
    }

    /// Whether a session that its agent asks for has the MCP configurations and variables of the request. Otherwise a
    /// person is asked about them.
    pub fn has_what_it_brings(&self) -> bool {
        self.is_unbounded()
    }

    /// Nothing is asked in this mode: what it can start by itself needs no other way.
    fn is_unbounded(&self) -> bool {
        self.mode == PermissionMode::BypassPermissions
    }

    fn check_mode(&self, asked: Option<PermissionMode>) -> Result<(), Excess> {
        match asked {
            Some(asked) if !asked.is_within(self.mode) => Err(Excess::Mode { asked, own: self.mode }),
            Some(_) | None => Ok(()),
        }
    }

    fn check_rules(&self, rules: &[String]) -> Result<(), Excess> {
        match rules.iter().find(|rule| !self.allowed_tools.contains(rule)) {
            Some(rule) => Err(Excess::Rule(rule.clone())),
            None => Ok(()),
        }
    }

    fn check_directory(&self, path: &Path) -> Result<(), Excess> {
        // A path that leads up again is in none of them, whatever it begins with.
        let is_plain = !path.components().any(|part| part == Component::ParentDir);
        if is_plain && self.directories.iter().any(|own| path.starts_with(own)) {
            return Ok(());
        }
        Err(Excess::Directory {
            path: path.to_owned(),
            own: self.directories.clone(),
        })
    }

    /// The budget of a session that asks for `asked`, in US dollars.
    fn budget(&self, asked: Option<f64>, default: Option<f64>) -> Result<Option<f64>, Excess> {
        let Some(left) = self.left_usd else {
            return Ok(asked.or(default));
        };
        if left <= 0.0 {
            return Err(Excess::Broke);
        }
        match asked {
            Some(asked) if asked > left => Err(Excess::Budget { asked, left }),
            Some(asked) => Ok(Some(asked)),
            None => Ok(Some(default.map_or(left, |default| default.min(left)))),
        }
    }

    /// The budget in US dollars with which a session that its agent asked for goes on: `budget` in all, of which `spent`
    /// is spent already. Without one it may use what is left.
    pub fn renewed(&self, budget: Option<f64>, spent: f64) -> Result<Option<f64>, Excess> {
        let more = budget.map(|budget| money(budget - spent));
        let more = self.budget(more, None)?;
        Ok(more.map(|more| money(spent + more)))
    }

    /// Checks that an answer of this session's agent lets the session that asks do no more than this one may itself.
    /// `granted` are the rights that come with the answer.
    pub fn check_answer(&self, kind: &QuestionKind, answer: &Answer, granted: &[Grant]) -> Result<(), Excess> {
        if matches!(answer, Answer::Deny { .. }) || self.is_unbounded() {
            return Ok(());
        }
        match kind {
            QuestionKind::Choice { .. } | QuestionKind::Form { .. } => {}
            // A session that plans, or in which what would be asked is denied, does not do such things.
            QuestionKind::Permission { .. } | QuestionKind::Plan { .. }
                if !PermissionMode::Default.is_within(self.mode) =>
            {
                return Err(Excess::Answer(format!("its permission mode is {}", self.mode.name())));
            }
            QuestionKind::Permission { tool, .. } if !self.needs_nobody_for(tool) => {
                return Err(Excess::Answer(format!("a person is asked there about {tool}")));
            }
            // Each step of a plan asks for itself.
            QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => {}
        }
        granted.iter().try_for_each(|grant| self.check_grant(grant))
    }

    /// Returns true if no call of a tool needs a person in this session. Else its agent would have another session do what
    /// it is not let do itself.
    fn needs_nobody_for(&self, tool: &str) -> bool {
        // A rule may name several tools, or all of a server.
        let head = |part: &str| part.split('(').next().unwrap_or_default().trim().to_owned();
        let is_about = |rule: &String| {
            rule.split(',')
                .any(|part| tool.starts_with(&head(part)) || head(part).contains('*'))
        };
        self.allowed_tools.iter().any(|rule| rule == tool) && !self.disallowed_tools.iter().any(is_about)
    }

    /// Errors unless its agent may let a session start what a project brings, or an agent has asked for. That runs outside of
    /// all permissions.
    pub fn check_trust(&self) -> Result<(), Excess> {
        match self.is_unbounded() {
            true => Ok(()),
            false => Err(Excess::Answer("only a person lets that start".to_owned())),
        }
    }

    fn check_grant(&self, grant: &Grant) -> Result<(), Excess> {
        let is_own = match grant {
            Grant::Mode { mode } => mode.is_within(self.mode),
            Grant::Rules { rules } => rules.iter().all(|rule| {
                let flag = rule.flag();
                flag.is_some_and(|flag| self.allowed_tools.contains(&flag))
            }),
            Grant::Directories { directories } => directories.iter().all(|path| self.check_directory(path).is_ok()),
        };
        match is_own {
            true => Ok(()),
            false => Err(Excess::Answer(grant.words())),
        }
    }
}

/// What is left of a budget in US dollars; never less than nothing.
pub fn left(budget: f64, spent: f64, committed: f64) -> f64 {
    money((budget - spent - committed).max(0.0))
}

/// What a session that an agent asked for takes off what that agent's session has left, in US dollars: what it has
/// `spent` with all below it, and while it lives all that it may spend.
pub fn committed(budget: Option<f64>, spent: f64, is_live: bool) -> f64 {
    match budget {
        Some(budget) if is_live => budget.max(spent),
        Some(_) | None => spent,
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

#[cfg(test)]
mod tests;
