//! Schemas as clients take them.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool};
use serde_json::Value;

/// A tool whose schemas hold nothing that validators do not know. Ours are made from Rust types and name the widths of
/// its integers as formats; validators warn of each in their users' terminals.
pub(super) fn plain(mut tool: Tool) -> Tool {
    strip(Arc::make_mut(&mut tool.input_schema));
    if let Some(schema) = &mut tool.output_schema {
        strip(Arc::make_mut(schema));
    }
    tool
}

fn strip(schema: &mut JsonObject) {
    let is_width = |format: &str| format.trim_start_matches('u').starts_with("int") || format == "double";
    if schema.get("format").and_then(Value::as_str).is_some_and(is_width) {
        schema.remove("format");
    }
    schema.values_mut().for_each(strip_value);
}

fn strip_value(value: &mut Value) {
    match value {
        Value::Object(schema) => strip(schema),
        Value::Array(schemas) => schemas.iter_mut().for_each(strip_value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::tools;

    #[test]
    fn no_schema_names_a_format_that_validators_do_not_know() {
        for tool in tools::all() {
            let text = serde_json::to_string(&tool).unwrap();
            for (at, _) in text.match_indices("\"format\":") {
                let format = &text[at + 10..at + 20];
                assert!(
                    !format.contains("int") && !format.contains("double"),
                    "{}: {format}",
                    tool.name
                );
            }
        }
    }
}
