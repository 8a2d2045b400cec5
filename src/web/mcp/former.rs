//! Streams of calls that a daemon of an earlier version began: it kept each in a file of JSON lines, and in another which
//! session the call follows.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rmcp::model::RequestId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Reopened;
use super::call_state::{CallState, go_on};
use super::kept::{BoundedDirectory, DirectoryBounds};
use super::narrate::ToldProgress;
use super::outflow::CallKey;
use super::services::Services;
use crate::disk::regular;
use crate::session::hex::hex;
use crate::session::id::{Seq, SessionId};

/// How long the files are kept after they were last written to.
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);

/// The tool as which such a call is gone on with: all that follow a session do it in the same way.
const TOOL: &str = "execute_resumable";

/// The directories of the files.
pub(super) struct Former {
    streams: PathBuf,
    calls: PathBuf,
}

/// A line of a stream's file.
#[derive(Deserialize)]
struct StreamLine {
    #[serde(default)]
    message: Option<Value>,
    /// The call that the stream answers, in a line of its own.
    #[serde(default)]
    of: Option<StreamOrigin>,
}

#[derive(Deserialize)]
struct StreamOrigin {
    mcp_session: String,
    request: RequestId,
}

/// The file of a call.
#[derive(Deserialize)]
struct CallFile {
    session: SessionId,
    after: Seq,
}

impl Former {
    /// Looks for files in this directory, and removes those that are too old.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let former = Self {
            streams: directory.join("streams"),
            calls: directory.join("calls"),
        };
        for directory in [&former.streams, &former.calls] {
            if directory.exists() {
                let bounds = DirectoryBounds {
                    files_max: usize::MAX,
                    bytes_max: u64::MAX,
                    age_max: AGE_MAX,
                };
                BoundedDirectory::open(directory, bounds)?;
            }
        }
        Ok(former)
    }

    /// What goes on behind an event of such a stream.
    pub(super) fn reopen(
        &self,
        services: &Services,
        last_event: &str,
        mcp_session: &str,
        signer: &str,
    ) -> Option<Reopened> {
        let (_, stream) = last_event.split_once('@')?;
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if !is_name(stream) || !is_name(mcp_session) {
            return None;
        }
        let lines = regular::read_to_string(&self.streams.join(stream)).ok()?;
        let lines: Vec<StreamLine> = lines.lines().filter_map(read).collect();
        let origin = lines.iter().find_map(|line| line.of.as_ref())?;
        if origin.mcp_session != mcp_session {
            return None;
        }
        let answers = |message: &&Value| message.get("method").is_none();
        if let Some(answer) = lines.iter().filter_map(|line| line.message.as_ref()).find(answers) {
            return Some(Reopened::Answer(answer.clone()));
        }
        let request = serde_json::to_string(&origin.request).ok()?;
        let file = self.calls.join(format!("{mcp_session}.{}", hex(request.as_bytes())));
        let followed = regular::read_to_string(&file).ok().and_then(|text| read(&text));
        let Some(CallFile { session, after }) = followed else {
            let error = json!({"code": -32603, "message": "the daemon was restarted during this call: call again"});
            let answer = json!({"jsonrpc": "2.0", "id": origin.request, "error": error});
            return Some(Reopened::Answer(answer));
        };
        let state = CallState {
            is_announced: true,
            ..CallState::begin(session, ToldProgress::up_to(after))
        };
        let message = go_on(services, TOOL, signer, &origin.request, None, &state)?;
        let call = CallKey {
            mcp_session: mcp_session.to_owned(),
            request: origin.request.clone(),
        };
        Some(Reopened::Call {
            call,
            after: 0,
            message,
        })
    }
}

fn read<T: DeserializeOwned>(line: &str) -> Option<T> {
    serde_json::from_str(line).ok()
}
