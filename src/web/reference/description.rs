//! The description of the API (OpenAPI 3.1), made from the attributes of the handlers. What all operations have in
//! common, their refusals and who may call them, is added here.

use std::collections::BTreeMap;

use actix_web::http::Method;
use serde_json::Value;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, Schema};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::web::access::{manage, needed, pages};
use crate::web::error::{Code, PROBLEM_TYPE};
use crate::web::schemas;
use crate::web::schemas::record::RecordSchema;
use crate::web::{api, calls, conversations, export, health, info, listing, metrics, removal, stream, waiting};

/// What the description begins with.
const ABOUT: &str = "Runs Claude Code for hours and does not lose the work. A session is one job; it has attempts, \
    records (its journal), questions that people answer, and an outcome.

A session is named by its id, by the last digits of it, by the first of its short form (at least four), or by its name where \
no other session has that, or no other live one. Refusals are \
`application/problem+json` with a stable `code`. Fields may be added to what is answered; unknown fields and parameters \
in what is sent are refused. Every path that has GET has HEAD, except streams, waits and exports. What goes on after its \
answer is answered with 202.

Calls by the daemon's Unix socket need no token: the kernel says who makes them, and the daemon's user may do all. \
`daemon.json` in the state directory names the socket. Calls by the port need a token. \
Each token has a role: a viewer reads, an operator also starts and answers and cancels, an admin also says who may call, and \
removes all that is old. \
The least role that an operation needs is its `x-required-role`; a lesser one is refused with `forbidden_role`.";

/// The least role that may call an operation.
pub(super) const ROLE: &str = "x-required-role";

#[derive(OpenApi)]
#[openapi(
    info(title = "cc-executor", description = ABOUT),
    paths(
        listing::list, api::create, api::get, api::records, api::cancel, waiting::wait, export::export,
        removal::remove, listing::history,
        conversations::checkpoints, conversations::resume, conversations::fork, conversations::import,
        conversations::handover,
        listing::questions, api::answer,
        stream::of_session, stream::of_all,
        info::info, info::doctor, removal::gc, super::openapi, super::page, super::style,
        manage::tokens, manage::create_token, manage::revoke_token, manage::create_link, manage::audit, pages::sign_out,
        health::healthz, health::readyz, metrics::metrics,
    ),
    components(schemas(schemas::HelloSchema, schemas::DeltaSchema, schemas::ProblemSchema, RecordSchema, calls::Created)),
    modifiers(&RefusalResponses, &Callers, &Roles),
    tags(
        (name = "sessions", description = "Jobs: started, listed, looked at, waited for, cancelled, exported, removed"),
        (name = "conversations", description = "Checkpoints, resuming, copies, taking over and giving back"),
        (name = "questions", description = "What agents need people for"),
        (name = "streams", description = "What happens, as it happens"),
        (name = "daemon", description = "The daemon, and this description"),
        (name = "access", description = "Who may call, and who has changed what"),
        (name = "health", description = "For whatever watches the daemon"),
        (name = "mcp", description = "The Model Context Protocol"),
    ),
)]
struct Api;

/// The whole description.
pub(super) fn describe() -> Document {
    let mut document = Api::openapi();
    let mut mcp = PathItem::new(
        HttpMethod::Post,
        mcp_operation("A message, answered by JSON or by a stream"),
    );
    mcp.get = Some(mcp_operation("What the server says by itself"));
    mcp.delete = Some(mcp_operation("The end of a session of the protocol"));
    document.paths.paths.insert("/mcp".to_owned(), mcp);
    close_alternatives(&mut document, "Answer");
    // The methods of this path came behind the modifiers.
    RefusalResponses.modify(&mut document);
    Callers.modify(&mut document);
    Roles.modify(&mut document);
    document
}

/// An alternative has the fields that it names and no others: the derived description of an enum does not say so.
fn close_alternatives(document: &mut Document, name: &str) {
    let components = document.components.get_or_insert_default();
    let Some(RefOr::T(Schema::OneOf(alternatives))) = components.schemas.get_mut(name) else {
        return;
    };
    for alternative in &mut alternatives.items {
        if let RefOr::T(Schema::Object(object)) = alternative {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// Only that it is there: the protocol describes itself.
fn mcp_operation(summary: &str) -> Operation {
    let any = || {
        Content::builder()
            .schema(Some(utoipa::openapi::schema::empty()))
            .build()
    };
    let answer = ResponseBuilder::new()
        .description("As the protocol says")
        .content("application/json", any())
        .content("text/event-stream", any());
    let accepted = ResponseBuilder::new().description("As the protocol says");
    let mut operation = OperationBuilder::new()
        .tag("mcp")
        .summary(Some(summary))
        .response("200", answer)
        .response("202", accepted);
    if summary.starts_with("A message") {
        let body = RequestBodyBuilder::new().content("application/json", any()).build();
        operation = operation.request_body(Some(body));
    }
    operation.build()
}

/// Adds the refusals that an operation may be answered with, by what it reads.
struct RefusalResponses;

impl Modify for RefusalResponses {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let statuses: BTreeMap<u16, Vec<Code>> = Code::ALL.iter().fold(BTreeMap::new(), |mut statuses, code| {
            statuses
                .entry(code.row().0.as_u16())
                .or_insert_with(Vec::new)
                .push(*code);
            statuses
        });
        for (status, codes) in &statuses {
            let response = RefOr::T(problem_response(codes));
            components.responses.insert(response_name(*status), response);
        }
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                for status in refusals(path, operation) {
                    let shared = RefOr::Ref(Ref::from_response_name(response_name(status)));
                    let responses = &mut operation.responses.responses;
                    responses.entry(status.to_string()).or_insert(shared);
                }
            }
        }
    }
}

/// Adds who may call: a bearer of the token, or the page with its cookie, which changes things with a CSRF header only.
struct Callers;

impl Modify for Callers {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token; `cc-executor token` shows the machine's own"));
        let cookie = ApiKeyValue::with_description("cc_executor_PORT", "The page's cookie, named by the port");
        let csrf = "With the cookie, for all but reading. Unless the page has a random name, `X-Page-Secret` as well";
        let csrf = ApiKeyValue::with_description("X-CSRF-Token", csrf);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        components.add_security_scheme("csrf", SecurityScheme::ApiKey(ApiKey::Header(csrf)));
        let none: [String; 0] = [];
        let by_bearer = || SecurityRequirement::new("bearer", none.clone());
        let by_cookie = || SecurityRequirement::new("cookie", none.clone());
        document.security = Some(vec![by_bearer(), by_cookie()]);
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.post, &mut item.delete].into_iter().flatten() {
                let with_csrf = by_cookie().add("csrf", none.clone());
                operation.security = Some(vec![by_bearer(), with_csrf]);
            }
        }
    }
}

/// Says which role each operation needs, by the rule that the guard goes by.
struct Roles;

impl Modify for Roles {
    fn modify(&self, document: &mut Document) {
        for (path, item) in &mut document.paths.paths {
            let methods = [
                (Method::GET, &mut item.get),
                (Method::POST, &mut item.post),
                (Method::DELETE, &mut item.delete),
            ];
            for (method, operation) in methods {
                let Some(operation) = operation.as_mut().filter(|operation| !is_public(operation)) else {
                    continue;
                };
                let role = needed(&method, path).name();
                operation.extensions = Some(ExtensionsBuilder::new().add(ROLE, role).build());
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// Whether anybody may call it.
fn is_public(operation: &Operation) -> bool {
    operation.security == Some(vec![SecurityRequirement::default()])
}

/// The statuses of what can be wrong with a call.
fn refusals(path: &str, operation: &Operation) -> Vec<u16> {
    let mut statuses = vec![403];
    if path == "/readyz" {
        statuses.push(503);
    }
    if is_public(operation) {
        return statuses;
    }
    statuses.extend([400, 401, 500, 503]);
    if path.contains("{id}") {
        statuses.extend([404, 409]);
    }
    if path.contains("{name}") {
        statuses.push(404);
    }
    if path.ends_with("/export") || path == "/mcp" {
        statuses.push(406);
    }
    if operation.request_body.is_some() {
        statuses.extend([404, 409, 413, 415, 422, 507]);
    }
    if path == "/mcp" {
        statuses.extend([404, 405]);
    }
    statuses
}

fn response_name(status: u16) -> String {
    format!("Problem{status}")
}

/// A refusal with this status, and the codes that it may have.
fn problem_response(codes: &[Code]) -> Response {
    let row = |code: &Code| {
        let (_, name, title) = code.row();
        format!("`{name}`: {title}")
    };
    let told: Vec<_> = codes.iter().map(row).collect();
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(told.join(". "))
        .content(PROBLEM_TYPE, Content::new(Some(schema)))
        .build()
}

/// The description as JSON.
pub(super) fn to_json() -> Value {
    // It is made of texts and numbers: there is nothing in it that JSON could refuse.
    serde_json::to_value(describe()).unwrap_or_default()
}
