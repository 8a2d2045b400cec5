//! What a new session is made of.

use std::collections::BTreeMap;

use crate::session::id::SessionId;
use crate::session::request::{Claim, Request};

/// A request with what must not be journalled.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The request.
    pub request: Request,
    /// Variables for the agent; without them it gets the daemon's environment. Values are kept in a 0600 file of the
    /// session.
    pub env: Option<BTreeMap<String, String>>,
    /// The environment that `env` is added to.
    pub base: EnvironmentBase,
    /// Who asks, in words for a person: `cli`, `rest`, …
    pub by: String,
    /// The caller's key, under which there may be one session only.
    pub claim: Option<Claim>,
    /// The session whose agent asks, where one does: the new one gets no more than that has.
    pub asker: Option<SessionId>,
}

/// The environment that the variables of a request are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentBase {
    /// The daemon's environment, as it is when the request is accepted.
    Daemon,
    /// Nothing: the variables are the whole environment.
    Nothing,
}
