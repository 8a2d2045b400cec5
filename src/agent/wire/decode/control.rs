//! Lines of the control protocol: what the agent wants of its host, and its answers.

use serde::Deserialize;
use serde_json::Value;

use crate::session::message::{Asked, Frame};
use crate::session::nesting;
use crate::session::question::{Choice, QuestionKind};

#[derive(Deserialize)]
pub(super) struct RequestLine {
    request_id: String,
    request: HostRequest,
}

#[derive(Deserialize)]
struct HostRequest {
    subtype: String,
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    decision_reason: Option<String>,
    #[serde(default)]
    permission_suggestions: Vec<Value>,
    #[serde(default)]
    mcp_server_name: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    requested_schema: Value,
    #[serde(default)]
    property_order: Vec<String>,
    #[serde(default)]
    url: Option<String>,
}

/// What the agent wants of us. Requests of a kind we do not serve come out as such, so that they can be answered by an
/// error at once and the agent does not wait for ever.
pub(super) fn control_request(line: RequestLine) -> Vec<Frame> {
    let RequestLine { request_id, request } = line;
    if !is_kept_whole(&request) {
        let kind = Some(format!("control_request/{}", request.subtype));
        let subtype = format!("{} with values nested so deep", request.subtype);
        return vec![Frame::Unknown { kind }, Frame::Unserved { request_id, subtype }];
    }
    let tool_use_id = request.tool_use_id.clone();
    let kind = match request.subtype.as_str() {
        "can_use_tool" => tool_question(request),
        "elicitation" => QuestionKind::Form {
            server: request.mcp_server_name.unwrap_or_default(),
            message: request.message.unwrap_or_default(),
            schema: request.requested_schema,
            order: request.property_order,
            url: request.url,
        },
        _ => {
            return vec![Frame::Unserved {
                request_id,
                subtype: request.subtype,
            }];
        }
    };
    vec![Frame::Asked(Asked {
        request_id,
        tool_use_id,
        kind,
    })]
}

/// Whether what is asked can be read again where questions are kept.
fn is_kept_whole(request: &HostRequest) -> bool {
    let values = [&request.input, &request.requested_schema];
    values
        .into_iter()
        .chain(&request.permission_suggestions)
        .all(nesting::is_within)
}

fn tool_question(request: HostRequest) -> QuestionKind {
    let input = request.input;
    match request.tool_name.as_deref() {
        Some("AskUserQuestion") => {
            let questions = input.get("questions").cloned().unwrap_or_default();
            match serde_json::from_value::<Vec<Choice>>(questions) {
                Ok(questions) if !questions.is_empty() => QuestionKind::Choice { questions, input },
                Ok(_) | Err(_) => permission("AskUserQuestion".to_owned(), input, None, vec![]),
            }
        }
        Some("ExitPlanMode") => {
            let plan = input.get("plan").and_then(Value::as_str).map(str::to_owned);
            QuestionKind::Plan { plan, input }
        }
        tool => {
            let tool = tool.unwrap_or_default().to_owned();
            permission(tool, input, request.decision_reason, request.permission_suggestions)
        }
    }
}

fn permission(tool: String, input: Value, reason: Option<String>, suggestions: Vec<Value>) -> QuestionKind {
    QuestionKind::Permission {
        tool,
        input,
        reason,
        suggestions,
    }
}

#[derive(Deserialize)]
pub(super) struct ControlResponse {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    subtype: String,
    request_id: String,
    #[serde(default)]
    response: Value,
    #[serde(default)]
    error: Option<String>,
}

pub(super) fn reply(line: ControlResponse) -> Frame {
    let Response {
        subtype,
        request_id,
        response,
        error,
    } = line.response;
    let result = if subtype == "success" {
        Ok(response)
    } else {
        Err(error.unwrap_or(subtype))
    };
    Frame::Reply { request_id, result }
}
