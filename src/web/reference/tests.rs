//! Holds the description against the code: its routes, its states, what a new session may say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::*;
use crate::session::journal::Entry;
use crate::session::request::Request;
use crate::web::access::manage;

fn description() -> Value {
    description::to_json()
}

/// What a browser is given: the page is no part of the API.
const PAGES: &[&str] = &[
    "/",
    "/assets/{name}",
    "/execution/{id}",
    "/execution/{id}/parts",
    "/execution/{id}/timeline",
    "/execution/{id}/transcript",
    "/history",
    "/new",
    "/parts",
    "/sign-in",
];

/// `GET /path`, for every method of every route; HEAD goes without saying.
fn routed() -> BTreeSet<String> {
    let routes = crate::web::tests::all_routes().into_iter();
    let routes = routes.filter(|(path, ..)| !PAGES.contains(path));
    let methods =
        routes.flat_map(|(path, methods, _)| methods.into_iter().map(move |method| format!("{method} {path}")));
    methods.filter(|method| !method.starts_with("HEAD ")).collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    let described: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(described, routed());
}

#[test]
fn the_description_is_of_the_version_that_tools_know_and_links_to_what_is_there() {
    let description = description();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    let text = description.to_string();
    for (_, rest) in text
        .match_indices("\"$ref\":\"#")
        .map(|(at, _)| text[at..].split_once('#').unwrap())
    {
        let target = rest.split('"').next().unwrap();
        assert!(description.pointer(target).is_some(), "{target}");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_how_it_refuses() {
    let description = description();
    let mut names = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(name) = operation["operationId"].as_str() {
                assert!(names.insert(name.to_owned()), "{name} twice");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {path}"
            );
            assert!(responses.contains_key("403"), "{method} {path}");
            let is_public = path == "/healthz" || path == "/readyz";
            assert_eq!(operation["x-required-role"].is_null(), is_public, "{method} {path}");
            assert_eq!(responses.contains_key("401"), !is_public, "{method} {path}");
            assert_eq!(
                operation["security"] == serde_json::json!([{}]),
                is_public,
                "{method} {path}"
            );
        }
    }
}

#[test]
fn who_may_call_is_told() {
    let description = description();
    for (path, method, role) in [
        ("/api/sessions", "get", "viewer"),
        ("/api/sessions", "post", "operator"),
        ("/api/audit", "get", "admin"),
        ("/api/sessions/{id}", "delete", "operator"),
        ("/api/gc", "post", "admin"),
        ("/api/tokens/{name}", "delete", "admin"),
        ("/sign-out", "post", "viewer"),
        ("/mcp", "get", "operator"),
    ] {
        assert_eq!(
            description["paths"][path][method]["x-required-role"], role,
            "{method} {path}"
        );
    }
    let page = document::render(&description).into_string();
    assert!(page.contains("Needs the role <code>admin</code>"));
}

/// The alternatives of a record, by kind: what each says its data are.
fn data_by_kind(description: &Value) -> BTreeMap<String, String> {
    let alternatives = &description["components"]["schemas"]["Record"]["allOf"][1]["oneOf"];
    let of = |alternative: &Value| {
        let kinds = &alternative["properties"]["kind"]["enum"];
        assert_eq!(kinds.as_array().map(Vec::len), Some(1), "{alternative}");
        let data = alternative["properties"]["data"]["$ref"].as_str().unwrap();
        assert_eq!(alternative["required"], serde_json::json!(["kind", "data"]));
        (kinds[0].as_str().unwrap().to_owned(), data.to_owned())
    };
    alternatives.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn the_data_of_every_kind_of_record_are_described() {
    let description = description();
    let record = &description["components"]["schemas"]["Record"]["allOf"][0];
    assert_eq!(record["properties"]["kind"]["enum"], serde_json::json!(Entry::KINDS));
    let data = data_by_kind(&description);
    assert!(data.keys().eq(BTreeSet::from_iter(Entry::KINDS)), "{data:?}");
    for (kind, target) in data {
        let schema = description.pointer(target.trim_start_matches('#')).unwrap();
        let is_described = ["properties", "allOf", "oneOf"]
            .iter()
            .any(|way| !schema[way].is_null());
        assert!(is_described, "{kind}: {schema}");
    }
}

/// What these types and those that they name say of themselves stands in the description: none is hidden by another one
/// of its name.
#[test]
fn a_name_means_one_schema() {
    let mut own: Vec<(String, RefOr<Schema>)> = Vec::new();
    crate::web::schemas::record::RecordSchema::schemas(&mut own);
    manage::AuditPage::schemas(&mut own);
    crate::web::SessionView::schemas(&mut own);
    crate::web::schemas::HelloSchema::schemas(&mut own);
    crate::web::schemas::DeltaSchema::schemas(&mut own);
    own.push(("Resume".to_owned(), crate::web::conversations::ResumeBody::schema()));
    own.push((
        "Checkpoint".to_owned(),
        crate::web::conversations::CheckpointView::schema(),
    ));
    let description = description();
    for (name, schema) in own.iter().filter(|(name, _)| *name != "Answer") {
        let shown = &description["components"]["schemas"][name];
        assert_eq!(*shown, serde_json::to_value(schema).unwrap(), "{name}");
    }
}

#[test]
fn a_new_session_may_say_what_a_request_has() {
    let request = serde_json::to_value(Request::default()).unwrap();
    let description = description();
    let schema = &description["components"]["schemas"]["NewSession"];
    assert_eq!(schema["additionalProperties"], false);
    let properties: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    for field in request.as_object().unwrap().keys() {
        assert!(properties.contains(&field), "{field}");
    }
    // What the description names is read, each on its own.
    let beside = ["env", "inherit_env"];
    for property in properties
        .into_iter()
        .filter(|property| !beside.contains(&property.as_str()))
    {
        let wrong = serde_json::json!({ property.as_str(): {"no": "such value"} });
        let told = serde_json::from_value::<Request>(wrong)
            .err()
            .map(|error| error.to_string());
        let is_unknown = told.is_some_and(|told| told.contains("unknown field"));
        assert!(!is_unknown, "{property}");
    }
    let import = &description["components"]["schemas"]["NewImport"];
    assert_eq!(import["required"], serde_json::json!(["agent_session_id"]));
    assert!(import["properties"]["task"].is_null() && import["properties"]["model"].is_object());
}

#[test]
fn the_page_shows_every_operation_and_schema_and_nothing_that_runs() {
    let page = document::render(&description()).into_string();
    for route in routed() {
        let path = route.split(' ').nth(1).unwrap();
        assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
    }
    for name in ["Session", "Problem", "Record", "Delta", "NewSession"] {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
    }
    for kind in Entry::KINDS {
        let row = format!("<td><code>{kind}</code></td>");
        assert!(page.contains(&row), "{kind}");
    }
    for active in ["<script", "style=", "onclick", "http://", "https://"] {
        assert!(!page.contains(active), "{active}");
    }
    for (_, rest) in page
        .match_indices("href=\"#")
        .map(|(at, _)| page[at..].split_once('#').unwrap())
    {
        let target = rest.split('"').next().unwrap();
        assert!(page.contains(&format!("id=\"{target}\"")), "{target}");
    }
}
