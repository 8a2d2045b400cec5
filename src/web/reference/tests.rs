//! Holds the description against the code: its routes, its states, what a new session may say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::session::journal::Entry;
use crate::session::request::Request;

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

#[test]
fn a_record_is_of_a_kind_that_the_journal_has() {
    let description = description();
    let kind = &description["components"]["schemas"]["Record"]["properties"]["kind"];
    assert_eq!(kind["enum"], serde_json::json!(Entry::KINDS));
    assert!(Entry::KINDS.contains(&"session.created"), "{:?}", Entry::KINDS);
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
    for property in properties.into_iter().filter(|property| *property != "env") {
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
