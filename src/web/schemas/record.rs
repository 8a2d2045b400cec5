//! The schema of a record: what all have in common, and for each kind what its data are, as the journal's own types say.

use std::borrow::Cow;

use utoipa::openapi::schema::{AllOfBuilder, KnownFormat, Object, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::session::journal::{Entry, VisitKind};

/// One record; described and never made.
pub(in crate::web) struct RecordSchema;

impl PartialSchema for RecordSchema {
    fn schema() -> RefOr<Schema> {
        let mut kinds = Kinds::default();
        Entry::each_kind(&mut kinds);
        let alternatives = kinds.0.iter().map(|kind| alternative(kind.name));
        let alternatives = alternatives.fold(OneOfBuilder::new(), OneOfBuilder::item);
        AllOfBuilder::new()
            .description(Some(
                "One record of a session's journal: the same over REST, in streams, in exports and in `logs --json`.",
            ))
            .item(common())
            .item(alternatives)
            .into()
    }
}

impl ToSchema for RecordSchema {
    fn name() -> Cow<'static, str> {
        "Record".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        let mut kinds = Kinds::default();
        Entry::each_kind(&mut kinds);
        for kind in kinds.0 {
            schemas.push((data_name(kind.name), kind.data));
            schemas.extend(kind.named);
        }
    }
}

/// The kinds with what their data are, and with the schemas that those name.
#[derive(Default)]
struct Kinds(Vec<RecordKind>);

struct RecordKind {
    name: &'static str,
    data: RefOr<Schema>,
    named: Vec<(String, RefOr<Schema>)>,
}

impl VisitKind for Kinds {
    fn visit<D: ToSchema>(&mut self, kind: &'static str) {
        let mut named = Vec::new();
        D::schemas(&mut named);
        self.0.push(RecordKind {
            name: kind,
            data: D::schema(),
            named,
        });
    }
}

/// `AttemptStartedData` for `attempt.started`.
pub(super) fn data_name(kind: &str) -> String {
    let capitalised = |word: &str| word[..1].to_uppercase() + &word[1..];
    kind.split('.').map(capitalised).collect::<String>() + "Data"
}

fn common() -> Object {
    let number = |description: &str| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some(description))
    };
    let text = |format| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(format)))
    };
    let kind = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Entry::KINDS.iter().copied()));
    let fields: [(&str, RefOr<Schema>); 5] = [
        ("seq", number("Its number in the session, from 1, without gaps.").into()),
        ("session_id", text(KnownFormat::Uuid).into()),
        (
            "attempt",
            number("The attempt during which it was written; 0 before the first.").into(),
        ),
        ("at", text(KnownFormat::DateTime).into()),
        ("kind", kind.into()),
    ];
    let object = fields.into_iter().fold(ObjectBuilder::new(), |object, (name, schema)| {
        object.property(name, schema).required(name)
    });
    object.build()
}

/// What `data` is where `kind` is this.
fn alternative(kind: &'static str) -> Object {
    let this = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind]));
    ObjectBuilder::new()
        .property("kind", this)
        .required("kind")
        .property("data", Ref::from_schema_name(data_name(kind)))
        .required("data")
        .build()
}
