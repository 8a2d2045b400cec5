//! Schemas of what the API takes and gives, where no type is read and written that could describe itself: these are never
//! filled, only described. Tests hold them against the types they describe.

#![expect(dead_code, reason = "these types are described and never made")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use self::record::RecordSchema;
use crate::session::request::{Background, OnQuestion, PermissionMode};
use crate::session::umask::Umask;
use crate::web::error::Code;
use crate::web::view::SessionView;

pub(super) mod record;

/// A text that may become an argument of a command, and so has no NUL byte.
const WITHOUT_NUL: &str = r"^[^\u0000]*$";

/// The largest whole number that is read.
pub(super) const NUMBER_MAX: u64 = u64::MAX;

/// What a session is to do, and its limits.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSession)]
#[schema(example = json!({"task": "make the tests pass", "cwd": "/srv/project", "max_turns": 50}))]
pub(in crate::web) struct NewSessionSchema {
    /// What the agent is to do, in full.
    #[schema(pattern = r"\S")]
    task: String,
    /// The directory it works in; absolute.
    #[schema(pattern = r"^/[^\u0000]*$")]
    cwd: String,
    /// What a person calls the session; made from the task when absent.
    #[schema(max_length = 80)]
    name: Option<String>,
    /// The model, as `claude --model` takes it.
    #[schema(pattern = r"^[^\u0000]*$")]
    model: Option<String>,
    /// How permissions are decided before anybody is asked, in the words of `claude`.
    permission_mode: Option<PermissionMode>,
    /// Tools that need no permission, in the rule syntax of `claude`.
    #[schema(required = false, schema_with = plain_texts)]
    allowed_tools: Vec<String>,
    /// Tools that are refused, in the rule syntax of `claude`.
    #[schema(required = false, schema_with = plain_texts)]
    disallowed_tools: Vec<String>,
    /// Text added to the system prompt.
    #[schema(pattern = r"^[^\u0000]*$")]
    append_system_prompt: Option<String>,
    /// MCP servers for the agent: a JSON object, or the path of a file that holds one. The file is read at once and a copy
    /// is kept. An agent gives the object itself, and a person is asked about it.
    #[schema(required = false, schema_with = plain_texts)]
    mcp_config: Vec<String>,
    /// The most agent turns.
    #[schema(minimum = 1, maximum = 4294967295_u32)]
    max_turns: Option<u32>,
    /// The most money, in US dollars.
    #[schema(exclusive_minimum = 0)]
    max_budget_usd: Option<f64>,
    /// Further directories that the agent may work in.
    #[schema(required = false, schema_with = plain_texts)]
    add_dirs: Vec<String>,
    /// A JSON Schema that the final answer must fit.
    #[schema(required = false)]
    json_schema: Value,
    /// The most time at work, in seconds.
    #[schema(schema_with = seconds)]
    timeout_seconds: Option<u64>,
    /// What happens to a question that nobody answers within `question_timeout_seconds`.
    #[schema(required = false)]
    on_question: OnQuestion,
    /// How long a question waits before `on_question` applies, in seconds.
    #[schema(schema_with = seconds)]
    question_timeout_seconds: Option<u64>,
    /// The longest time between two checkpoints while anything happens, in seconds.
    #[schema(schema_with = seconds)]
    checkpoint_interval_seconds: Option<u64>,
    /// Whether the task is first analysed, and a person asked where it is ambiguous.
    #[schema(required = false)]
    clarify: bool,
    /// Whether what the project starts by itself (hooks, helpers, MCP servers) may start without a question.
    #[schema(required = false)]
    trust_project: bool,
    /// Whether the agent is given the tools and resources of this daemon.
    #[schema(required = false)]
    executor_tools: bool,
    /// What happens to shells that the agent leaves in the background: `end` them after a grace (the default), `wait`
    /// until they have ended by themselves, or `keep` them running.
    background_shells: Option<Background>,
    /// True is another name of `keep` for `background_shells`.
    #[schema(required = false)]
    keep_background: bool,
    /// The umask that the agent starts with, in octal digits; the daemon's when absent.
    umask: Option<Umask>,
    /// Variables for the agent, added to the daemon's environment as it is now. Values are never shown.
    #[schema(required = false, schema_with = environment)]
    env: BTreeMap<String, String>,
    /// Whether the agent gets the daemon's environment too: with `false`, `env` is all there is.
    #[schema(required = false, default = true)]
    inherit_env: bool,
}

/// The conversation that a session goes on with, and what is new about it: a [`NewSessionSchema`] with the conversation
/// instead of a task, whose directory may be left out.
pub(in crate::web) struct NewImportSchema;

impl PartialSchema for NewImportSchema {
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut object)) = NewSessionSchema::schema() else {
            return RefOr::default();
        };
        object.description = Some("The conversation that a session goes on with, and what is new about it.".to_owned());
        object.example =
            Some(json!({"agent_session_id": "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10", "instruction": "go on"}));
        object.properties.shift_remove("task");
        object
            .properties
            .insert("agent_session_id".to_owned(), agent_session_id());
        object.properties.insert("instruction".to_owned(), instruction());
        object.required = vec!["agent_session_id".to_owned()];
        Schema::Object(object).into()
    }
}

impl ToSchema for NewImportSchema {
    fn name() -> Cow<'static, str> {
        "NewImport".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        NewSessionSchema::schemas(schemas);
    }
}

/// An export as one object.
#[derive(ToSchema)]
#[schema(as = Export)]
pub(in crate::web) struct ExportSchema {
    session: SessionView<'static>,
    records: Vec<RecordSchema>,
}

/// A page of a session's journal.
#[derive(ToSchema)]
#[schema(as = Records)]
pub(in crate::web) struct RecordsSchema {
    records: Vec<RecordSchema>,
    /// The number of the session's last record: there is more where it is beyond that of the page.
    head: u64,
}

/// A refusal, as in RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:cc-executor:problem:no_such_session", "title": "There is no such session", "status": 404,
    "detail": "there is no session abcd: `GET /api/sessions` lists them", "code": "no_such_session"
}))]
pub(in crate::web) struct ProblemSchema {
    r#type: String,
    /// What the code means in general.
    title: String,
    status: u16,
    /// What is wrong and what to do, for a person; may change.
    detail: String,
    /// Stable: for programs.
    #[schema(schema_with = codes)]
    code: String,
}

/// The first event of a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Hello)]
pub(in crate::web) struct HelloSchema {
    /// `gap` where the cursor does not belong to this journal: the stream begins anew.
    resume: ResumptionSchema,
    /// The cursor of the last record so far.
    head: u64,
    /// Random for each database: cursors of another one mean nothing.
    epoch: String,
}

/// Whether a stream goes on where its reader was.
#[derive(Serialize, ToSchema)]
#[schema(as = Resumption)]
#[serde(rename_all = "snake_case")]
pub(in crate::web) enum ResumptionSchema {
    Ok,
    Gap,
}

/// Partial text while it is written: shown live, never stored.
#[derive(Serialize, ToSchema)]
#[schema(as = Delta)]
pub(in crate::web) struct DeltaSchema {
    attempt: u32,
    message_id: String,
    /// The block of the message.
    block: u32,
    part: DeltaPartSchema,
    text: String,
    /// Where the text begins in its block, in characters.
    offset: u64,
}

/// What is being written.
#[derive(Serialize, ToSchema)]
#[schema(as = DeltaPart)]
#[serde(rename_all = "snake_case")]
pub(in crate::web) enum DeltaPartSchema {
    Text,
    Thinking,
    ToolInput,
}

/// The beginning of a UUID, from 4 digits on.
const ID_PREFIX: &str = "^([0-9a-fA-F]{4,8}|[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){0,2}[0-9a-fA-F]{0,4}|[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{0,12})$";

fn agent_session_id() -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let description = "The id of the Claude session, as `claude --resume` takes it, or its first 4 digits or more.";
    text.pattern(Some(ID_PREFIX)).description(Some(description)).into()
}

fn instruction() -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    text.description(Some("What the agent is told; none to go on.")).into()
}

fn plain_texts() -> RefOr<Schema> {
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(WITHOUT_NUL));
    ArrayBuilder::new().items(text).into()
}

fn seconds() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Integer, Type::Null]));
    number.minimum(Some(1_u64)).maximum(Some(NUMBER_MAX)).into()
}

fn environment() -> RefOr<Schema> {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r"^[^=\u0000]+$"))
        .build();
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(WITHOUT_NUL));
    let value = AdditionalProperties::RefOr(RefOr::T(Schema::Object(value.build())));
    let object = ObjectBuilder::new()
        .property_names(Some(Schema::Object(name)))
        .additional_properties(Some(value));
    object.description(Some("Names and values of variables.")).into()
}

fn codes() -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let codes = Code::ALL.iter().map(|code| code.row().1);
    text.enum_values(Some(codes)).into()
}
