//! What goes to the agent's stdin: one JSON object a line.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::session::grant::{Grant, Rule};
use crate::session::question::{Answer, Question, QuestionKind};

/// A message of the user. The agent drops a uuid that it has seen.
pub fn user_message(uuid: Uuid, text: &str) -> String {
    json!({
        "type": "user",
        "message": {"role": "user", "content": text},
        "parent_tool_use_id": null,
        "uuid": uuid,
    })
    .to_string()
}

/// The answer to a question, as the agent that asked it expects it, with what is granted along with it.
pub fn answer(question: &Question, answer: &Answer, grants: &[Grant]) -> String {
    let response = match &question.kind {
        QuestionKind::Form { .. } => form_response(answer),
        QuestionKind::Permission { input, .. } => permission_response(answer, input, grants),
        QuestionKind::Choice { input, .. } => choice_response(answer, input),
        QuestionKind::Plan { input, .. } => permission_response(answer, input, &[]),
    };
    let response = json!({"subtype": "success", "request_id": question.request_id, "response": response});
    json!({"type": "control_response", "response": response}).to_string()
}

/// Tells the agent that a request of a kind we do not serve is refused.
pub fn refuse(request_id: &str, error: &str) -> String {
    let response = json!({"subtype": "error", "request_id": request_id, "error": error});
    json!({"type": "control_response", "response": response}).to_string()
}

fn permission_response(answer: &Answer, input: &Value, grants: &[Grant]) -> Value {
    let updated_input = match answer {
        Answer::Allow { updated_input, .. } => updated_input.as_ref(),
        Answer::Deny { reason, interrupt } => return denial(reason.as_deref(), *interrupt),
        Answer::Choose { .. } | Answer::Submit { .. } => None,
    };
    let mut response = json!({"behavior": "allow", "updatedInput": updated_input.unwrap_or(input)});
    if !grants.is_empty() {
        response["updatedPermissions"] = grants.iter().map(for_this_session).collect();
    }
    response
}

fn choice_response(answer: &Answer, input: &Value) -> Value {
    let answers = match answer {
        Answer::Choose { answers } => answers,
        Answer::Deny { reason, interrupt } => return denial(reason.as_deref(), *interrupt),
        Answer::Allow { .. } | Answer::Submit { .. } => return denial(None, false),
    };
    let mut updated = if input.is_object() { input.clone() } else { json!({}) };
    updated["answers"] = json!(answers);
    json!({"behavior": "allow", "updatedInput": updated})
}

fn form_response(answer: &Answer) -> Value {
    match answer {
        Answer::Submit { content } => json!({"action": "accept", "content": content}),
        Answer::Deny { interrupt: true, .. } => json!({"action": "cancel"}),
        // Of the forms only an address to open can be allowed.
        Answer::Allow { .. } => json!({"action": "accept"}),
        Answer::Deny { .. } | Answer::Choose { .. } => json!({"action": "decline"}),
    }
}

fn denial(reason: Option<&str>, interrupt: bool) -> Value {
    let message = reason.unwrap_or("The user does not want this. Ask what to do instead, or go on without it.");
    let mut response = json!({"behavior": "deny", "message": message});
    if interrupt {
        response["interrupt"] = json!(true);
    }
    response
}

/// A grant in the CLI's own form. It is for this session: the CLI would otherwise write some of them into the
/// directory's settings, where they would hold for every later session.
fn for_this_session(grant: &Grant) -> Value {
    let destination = "session";
    match grant {
        Grant::Rules { rules } => {
            let rules: Vec<Value> = rules.iter().map(rule).collect();
            json!({"type": "addRules", "rules": rules, "behavior": "allow", "destination": destination})
        }
        Grant::Mode { mode } => json!({"type": "setMode", "mode": mode.name(), "destination": destination}),
        Grant::Directories { directories } => {
            json!({"type": "addDirectories", "directories": directories, "destination": destination})
        }
    }
}

fn rule(rule: &Rule) -> Value {
    match &rule.content {
        Some(content) => json!({"toolName": rule.tool, "ruleContent": content}),
        None => json!({"toolName": rule.tool}),
    }
}
