//! The tools: what each is called, what it takes, and who carries it out.
//!
//! A call that cannot be carried out is answered by a result that says what to do, since a model reads that; only a tool
//! that does not exist is an error of the protocol.

mod arguments;
mod execute;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod list;
mod look;

use std::sync::LazyLock;

use rmcp::handler::server::common::{schema_for_output, schema_for_type};
use rmcp::model::{CallToolRequestParams, CallToolResponse, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::caller::McpCaller;
use super::result::{ExecutionResult, failure};
use super::schema::plain;
use super::services::Services;
use crate::runtime::CallError;
use crate::session::id::SessionId;
use crate::web::remedy::told_to_model;

/// Why a tool was not carried out; each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    /// The arguments do not fit the tool's schema.
    #[error("the arguments do not fit: {0}; tools/list has the schema")]
    Arguments(String),
    /// The runtime refused.
    #[error("{}", told_to_model(.0))]
    Refused(#[from] CallError),
    /// It is not known where the agent is to work.
    #[error("say in which directory to work: give `cwd` as an absolute path")]
    NoDirectory,
    /// There is no question to answer.
    #[error("session {0} has no open question: get_execution shows how it stands")]
    NothingAsked(SessionId),
    /// There is more than one.
    #[error("several questions are open: say which by question_id, one of {0}")]
    WhichQuestion(String),
    /// What a client kept for us was changed, or is of another call.
    #[error("the requestState is not one of this call: call the tool anew, or use get_execution")]
    BadState,
}

/// One tool.
struct ToolEntry {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    input: fn() -> std::sync::Arc<Map<String, Value>>,
    effect: ToolEffect,
}

/// What a tool does to the world.
#[derive(Clone, Copy)]
enum ToolEffect {
    /// It runs an agent that may change anything.
    Runs,
    /// It changes a session.
    Steers,
    /// It looks.
    Looks,
}

/// The tool that looks at a session or waits for it.
const GET: &str = "get_execution";

/// The tool that clarifies a task before it is run.
const SMART: &str = "smart_execution";

const TOOLS: &[ToolEntry] = &[
    ToolEntry {
        name: "execute_with_streaming",
        title: "Run a task with Claude Code",
        description: "Runs a task with a Claude Code agent and waits for its end, with progress as it goes. The agent \
            works in a directory of this machine and can use its tools there. For work of more than some minutes prefer \
            background: true, which returns the session_id at once, and get_execution. If this call times out or is cut \
            off, the session goes on: do not start it again. Its session_id came with the first progress and log \
            message, and list_executions finds it by task, directory and time; get_execution with wait_seconds then \
            waits for its end.",
        input: schema_for_type::<arguments::Execute>,
        effect: ToolEffect::Runs,
    },
    ToolEntry {
        name: "execute_resumable",
        title: "Run a long task that can be resumed",
        description: "As execute_with_streaming, for long tasks: the first progress message and the first log message \
            carry the session_id, and checkpoints are written as it goes. If this call times out or is cut off, the \
            session goes on: list_executions finds it, get_execution with wait_seconds waits for its end, and \
            resume_execution goes on with it once it has ended.",
        input: schema_for_type::<arguments::Execute>,
        effect: ToolEffect::Runs,
    },
    ToolEntry {
        name: SMART,
        title: "Find out what is meant, then run the task",
        description: "As execute_with_streaming, for a task that may be ambiguous: the agent first looks at what is \
            there without changing anything; if the task can be understood in more than one way, the user is asked; \
            then the task is run as it was settled. If this call times out, go on with list_executions and \
            get_execution.",
        input: schema_for_type::<arguments::Execute>,
        effect: ToolEffect::Runs,
    },
    ToolEntry {
        name: "resume_execution",
        title: "Go on with a session that was interrupted",
        description: "Goes on with a session that has failed, was cancelled or timed out, with all that its agent knew, \
            and waits for its end as execute_with_streaming does. If this call times out, the session goes on: call \
            get_execution with its session_id and wait_seconds.",
        input: schema_for_type::<arguments::ResumeArguments>,
        effect: ToolEffect::Runs,
    },
    ToolEntry {
        name: GET,
        title: "Look at a session, or wait for it",
        description: "How a session stands: state, result, open questions, and what happened after record `after`. With \
            wait_seconds it waits until the session has ended or asks something, at most so long; if this call times \
            out, call again with less. A long answer is shown by its end: result_from: 0 reads all of it, piece by \
            piece.",
        input: schema_for_type::<arguments::GetArguments>,
        effect: ToolEffect::Looks,
    },
    ToolEntry {
        name: "list_executions",
        title: "List sessions",
        description: "Sessions, newest first: those that live and those that ended lately, or with `all` every one. Each \
            has its name, task, directory and times, and what it waits for: a call that was cut off is found again \
            here.",
        input: schema_for_type::<arguments::ListArguments>,
        effect: ToolEffect::Looks,
    },
    ToolEntry {
        name: "answer_question",
        title: "Answer a question of a session",
        description: "Answers what an agent asked. Ask the user first: the answer is theirs to give. The first answer \
            wins.",
        input: schema_for_type::<arguments::AnswerArguments>,
        effect: ToolEffect::Steers,
    },
    ToolEntry {
        name: "control_execution",
        title: "Cancel a session",
        description: "Cancels a session: its agent is ended. A repeated cancel does no harm.",
        input: schema_for_type::<arguments::ControlArguments>,
        effect: ToolEffect::Steers,
    },
];

/// Every tool, always in the same order.
pub(super) fn all() -> &'static [Tool] {
    // rmcp looks a tool up at each call; schemas are made once.
    static ALL: LazyLock<Vec<Tool>> = LazyLock::new(|| TOOLS.iter().map(ToolEntry::to_tool).map(plain).collect());
    &ALL
}

impl ToolEntry {
    fn to_tool(&self) -> Tool {
        let annotations = match self.effect {
            ToolEffect::Runs => ToolAnnotations::new()
                .read_only(false)
                .destructive(true)
                .idempotent(false)
                .open_world(true),
            ToolEffect::Steers => ToolAnnotations::new()
                .read_only(false)
                .destructive(true)
                .idempotent(true)
                .open_world(false),
            ToolEffect::Looks => ToolAnnotations::new().read_only(true).open_world(false),
        };
        let output = if self.name == "list_executions" {
            schema_for_output::<list::Listed>()
        } else {
            schema_for_output::<ExecutionResult>()
        };
        Tool::new(self.name, self.description, (self.input)())
            .with_title(self.title)
            .with_annotations(annotations)
            .with_raw_output_schema(output)
    }
}

/// Carries a call out.
pub(super) async fn call(
    services: &Services,
    params: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
    caller: &McpCaller,
) -> Result<CallToolResponse, ErrorData> {
    let name = params.name.to_string();
    let call = execute::ToolCall {
        services,
        context,
        caller,
    };
    let outcome = match name.as_str() {
        "execute_with_streaming" | "execute_resumable" | SMART => call.execute(params, &name).await,
        "resume_execution" => call.resume(params, &name).await,
        GET => call.get(params).await,
        "list_executions" => list::list(services, read(params.arguments)).await,
        "answer_question" => look::answer(services, caller, read(params.arguments)).await,
        "control_execution" => look::control(services, caller, read(params.arguments)).await,
        _ => return Err(ErrorData::invalid_params(format!("there is no tool {name:?}"), None)),
    };
    Ok(outcome.unwrap_or_else(|error| failure(error).into()))
}

/// Arguments as their type; what does not fit is named.
fn read<T: DeserializeOwned + JsonSchema>(arguments: Option<Map<String, Value>>) -> Result<T, ToolError> {
    let arguments = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(arguments).map_err(|error| ToolError::Arguments(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_takes_and_what_it_answers() {
        for tool in all() {
            let fields = tool.input_schema["properties"].as_object().unwrap();
            for (name, field) in fields {
                assert!(
                    field.get("description").is_some(),
                    "{}: {name} has no description",
                    tool.name
                );
            }
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            assert_eq!(tool.output_schema.as_ref().unwrap()["type"], "object", "{}", tool.name);
            assert!(tool.annotations.is_some() && tool.title.is_some());
        }
    }

    #[test]
    fn an_argument_that_does_not_fit_is_named() {
        let told = |arguments: Value| {
            let read: Result<arguments::Execute, _> = read(arguments.as_object().cloned());
            read.and_then(|arguments| arguments.to_request(None))
                .unwrap_err()
                .to_string()
        };
        assert!(told(serde_json::json!({"cwd": "/w"})).contains("task"));
        assert!(told(serde_json::json!({"task": "t", "max_turn": 3})).contains("max_turn"));
        assert!(told(serde_json::json!({"task": "t", "permission_mode": "yolo"})).contains("yolo"));
    }
}
