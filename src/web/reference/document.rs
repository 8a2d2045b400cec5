//! The page that shows the description to people: plain HTML, with links inside it and nothing that runs.

use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

use super::description::ROLE;

/// Methods in the order in which they are shown.
const METHODS: [&str; 3] = ["get", "post", "delete"];

/// The page of a description.
pub(super) fn render(description: &Value) -> Markup {
    let tags = items(&description["tags"]);
    let schemas = fields(&description["components"]["schemas"]);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "cc-executor: the API" }
                link rel="stylesheet" href="/api/reference/style.css";
            }
            body {
                nav aria-label="Contents" {
                    p { a href="/" { "All sessions" } }
                    h2 { "Contents" }
                    @for tag in tags {
                        (contents_of(description, text(&tag["name"])))
                    }
                    p { a href="#schemas" { "Schemas" } }
                    p { a href="/api/openapi.json" { "The same as OpenAPI " (text(&description["openapi"])) } }
                }
                main {
                    h1 { "cc-executor: the API" }
                    p { "Version " (text(&description["info"]["version"])) }
                    @for paragraph in text(&description["info"]["description"]).split("\n\n") {
                        p { (marked(paragraph)) }
                    }
                    @for tag in tags {
                        (section(description, tag))
                    }
                    h2 id="schemas" { "Schemas" }
                    @for (name, schema) in schemas.into_iter().flatten() {
                        (schema_section(name, schema))
                    }
                }
            }
        }
    }
}

fn contents_of(description: &Value, tag: &str) -> Markup {
    html! {
        h3 { a href={ "#" (tag) } { (tag) } }
        ul {
            @for (path, method, _) in operations(description, tag) {
                li { a href={ "#" (anchor(method, path)) } { span.method { (method) } " " (path) } }
            }
        }
    }
}

fn section(description: &Value, tag: &Value) -> Markup {
    let name = text(&tag["name"]);
    html! {
        section {
            h2 id=(name) { (name) }
            p { (marked(text(&tag["description"]))) }
            @for (path, method, operation) in operations(description, name) {
                (operation_article(path, method, operation))
            }
        }
    }
}

fn operation_article(path: &str, method: &str, operation: &Value) -> Markup {
    let parameters = items(&operation["parameters"]);
    let said = [&operation["summary"], &operation["description"]];
    html! {
        article id=(anchor(method, path)) {
            h3 { span.method { (method) } " " code { (path) } }
            @for said in said.into_iter().map(text).filter(|said| !said.is_empty()) {
                p { (marked(said)) }
            }
            @if let Some(role) = operation[ROLE].as_str() {
                p { "Needs the role " code { (role) } "." }
            }
            @if !parameters.is_empty() {
                (parameter_table(parameters))
            }
            @if let Some(content) = operation["requestBody"]["content"].as_object() {
                p { "Body: " (contents(content)) }
            }
            (response_table(&operation["responses"]))
        }
    }
}

fn parameter_table(parameters: &[Value]) -> Markup {
    html! {
        table {
            caption { "Parameters" }
            thead { tr { th scope="col" { "Name" } th scope="col" { "In" } th scope="col" { "Type" } th scope="col" { "Meaning" } } }
            tbody {
                @for parameter in parameters {
                    tr {
                        td { code { (text(&parameter["name"])) } }
                        td { (text(&parameter["in"])) @if parameter["required"] == true { ", needed" } }
                        td { (kind(&parameter["schema"])) }
                        td { (marked(text(&parameter["description"]))) }
                    }
                }
            }
        }
    }
}

fn response_table(responses: &Value) -> Markup {
    let refusals: Vec<_> = fields(responses)
        .into_iter()
        .flatten()
        .filter_map(|(status, response)| response["$ref"].is_string().then_some(status.as_str()))
        .collect();
    html! {
        table {
            caption { "Answers" }
            thead { tr { th scope="col" { "Status" } th scope="col" { "Body" } th scope="col" { "Meaning" } } }
            tbody {
                @for (status, response) in fields(responses).into_iter().flatten().filter(|(_, response)| response["$ref"].is_null()) {
                    tr {
                        td { (status) }
                        td { @if let Some(content) = response["content"].as_object() { (contents(content)) } }
                        td { (marked(text(&response["description"]))) }
                    }
                }
                @if !refusals.is_empty() {
                    tr {
                        td { (refusals.join(", ")) }
                        td { "application/problem+json " (link("Problem")) }
                        td { "A refusal, with its " code { "code" } }
                    }
                }
            }
        }
    }
}

fn schema_section(name: &str, schema: &Value) -> Markup {
    html! {
        article id={ "schema-" (name) } {
            h3 { (name) }
            p { (marked(text(&schema["description"]))) }
            (shape(schema))
            @if !schema["example"].is_null() {
                p { "For example:" }
                pre tabindex="0" { code { (pretty(&schema["example"])) } }
            }
        }
    }
}

/// What a schema is made of: fields, alternatives, or parts.
fn shape(schema: &Value) -> Markup {
    let required = items(&schema["required"]);
    html! {
        @if let Some(kinds) = data_by_kind(&schema["oneOf"]) {
            (kind_table(&kinds))
        } @else {
            @for (words, parts) in [("All of", &schema["allOf"]), ("One of", &schema["oneOf"])] {
                @if let Some(parts) = parts.as_array() {
                    p { (words) ":" }
                    ul { @for part in parts { li { (part_of(part)) } } }
                }
            }
        }
        @if let Some(properties) = schema["properties"].as_object() {
            table {
                thead { tr { th scope="col" { "Field" } th scope="col" { "Type" } th scope="col" { "Meaning" } } }
                tbody {
                    @for (field, property) in properties {
                        tr {
                            td { code { (field) } @if required.iter().any(|name| name == field) { ", always" } }
                            td { (kind(property)) }
                            td { (marked(text(&property["description"]))) }
                        }
                    }
                }
            }
        } @else if schema["allOf"].is_null() && schema["oneOf"].is_null() {
            p { (kind(schema)) }
        }
    }
}

/// One of several alternatives or parts; one that has a name of its own stands elsewhere.
fn part_of(part: &Value) -> Markup {
    let is_shown_here = part["properties"].is_object() || part["oneOf"].is_array();
    html! {
        @if is_shown_here {
            @let said = text(&part["description"]);
            @if !said.is_empty() { p { (marked(said)) } }
            (shape(part))
        } @else {
            (kind(part))
        }
    }
}

/// The data of each kind, where the alternatives differ by their kind.
fn data_by_kind(alternatives: &Value) -> Option<Vec<(&str, &Value)>> {
    alternatives.as_array()?.iter().map(data_of_kind).collect()
}

fn data_of_kind(alternative: &Value) -> Option<(&str, &Value)> {
    let fields = alternative["properties"].as_object()?;
    Some((fields.get("kind")?["enum"][0].as_str()?, fields.get("data")?))
}

fn kind_table(kinds: &[(&str, &Value)]) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { code { "kind" } } th scope="col" { code { "data" } } } }
            tbody { @for (name, data) in kinds { tr { td { code { (name) } } td { (kind(data)) } } } }
        }
    }
}

/// A schema in a few words, with links to those that have a name.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        return link(name);
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        name => text(name).to_owned(),
    };
    let alternatives = [&schema["oneOf"], &schema["allOf"]];
    html! {
        @if let Some(values) = schema["enum"].as_array() {
            (values.iter().map(text).collect::<Vec<_>>().join(", "))
        } @else if schema["items"].is_object() {
            "array of " (kind(&schema["items"]))
        } @else if let Some(parts) = alternatives.into_iter().find_map(Value::as_array) {
            @for (place, part) in parts.iter().enumerate() { @if place > 0 { " or " } (kind(part)) }
        } @else if names.is_empty() {
            "any JSON"
        } @else {
            (names) @if let Some(format) = schema["format"].as_str() { " (" (format) ")" }
        }
    }
}

fn contents(content: &Map<String, Value>) -> Markup {
    html! {
        @for (place, (media_type, content)) in content.iter().enumerate() {
            @if place > 0 { " or " }
            (media_type) " " (kind(&content["schema"]))
        }
    }
}

fn link(name: &str) -> Markup {
    html! { a href={ "#schema-" (name) } { (name) } }
}

/// Text in which what stands between backquotes is code.
fn marked(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Path, method and description of all operations with a tag.
fn operations<'a>(description: &'a Value, tag: &str) -> Vec<(&'a str, &'static str, &'a Value)> {
    let mut found = Vec::new();
    for (path, item) in fields(&description["paths"]).into_iter().flatten() {
        for method in METHODS {
            if items(&item[method]["tags"]).iter().any(|name| name == tag) {
                found.push((path.as_str(), method, &item[method]));
            }
        }
    }
    found
}

fn anchor(method: &str, path: &str) -> String {
    let plain = path.trim_matches('/').replace(['/', '.'], "-").replace(['{', '}'], "");
    format!("{method}-{plain}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn fields(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
