//! Forms: what an MCP server asks for by a JSON Schema, as fields that a person can fill in, and whether what was filled
//! in fits.

use std::collections::{HashMap, HashSet};

use jsonschema::PatternOptions;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// How many faults of a form's content are told at once.
const FAULTS_MAX: usize = 5;

/// The longest schema that a content is held against, in bytes. Whoever holds it has other sessions to look after.
const CHECKED_BYTES_MAX: usize = 64 * 1024;

/// How often one pattern may begin anew, and how much memory it may need.
const PATTERN_STEPS_MAX: usize = 2_000;
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// One field of a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<'a> {
    /// Its key in the content.
    pub key: &'a str,
    /// The title for people.
    pub title: &'a str,
    /// What is said about it.
    pub hint: Option<&'a str>,
    /// What can be filled in.
    pub kind: FieldKind,
    /// Whether it must be filled in.
    pub required: bool,
    /// What stands in it at first.
    pub default: Option<&'a Value>,
}

/// What can be filled into a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// One of these.
    One(Vec<Offer>),
    /// Any of these.
    Many(Vec<Offer>),
}

/// A value to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The value itself.
    pub value: String,
    /// The title for people.
    pub title: String,
}

/// The fields of a simple schema, those of `order` first; none where it is not an object of plain values.
pub fn fields<'a>(schema: &'a Value, order: &[String]) -> Option<Vec<Field<'a>>> {
    let properties = schema.get("properties")?.as_object()?;
    // Looked up, not searched for: a schema may have very many fields.
    let required: HashSet<&str> = texts(schema.get("required")).collect();
    let places: HashMap<&str, usize> = order
        .iter()
        .enumerate()
        .map(|(place, key)| (key.as_str(), place))
        .collect();
    let mut keys: Vec<_> = properties.keys().collect();
    keys.sort_by_key(|key| places.get(key.as_str()).copied().unwrap_or(order.len()));
    keys.into_iter()
        .map(|key| field(key, &properties[key], required.contains(key.as_str())))
        .collect()
}

fn field<'a>(key: &'a str, property: &'a Value, required: bool) -> Option<Field<'a>> {
    let text = |name: &str| property.get(name).and_then(Value::as_str);
    let kind = match text("type")? {
        "string" => offers(property).map_or(FieldKind::Text, FieldKind::One),
        "integer" => FieldKind::Integer,
        "number" => FieldKind::Number,
        "boolean" => FieldKind::Boolean,
        "array" => FieldKind::Many(offers(property.get("items")?)?),
        _ => return None,
    };
    Some(Field {
        key,
        title: text("title").unwrap_or(key),
        hint: text("description"),
        kind,
        required,
        default: property.get("default"),
    })
}

/// The values of an enumeration with their names, in any of the ways that the protocol has had for them.
fn offers(property: &Value) -> Option<Vec<Offer>> {
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        let names: Vec<_> = texts(property.get("enumNames")).collect();
        let offer = |(place, value): (usize, &Value)| {
            let value = value.as_str()?.to_owned();
            let title = names
                .get(place)
                .map_or_else(|| value.clone(), |name| (*name).to_owned());
            Some(Offer { value, title })
        };
        return values.iter().enumerate().map(offer).collect();
    }
    let values = property.get("oneOf").or(property.get("anyOf"))?.as_array()?;
    let offer = |one: &Value| {
        let value = one.get("const")?.as_str()?.to_owned();
        let title = one.get("title").and_then(Value::as_str).unwrap_or(&value).to_owned();
        Some(Offer { value, title })
    };
    values.iter().map(offer).collect()
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Why the content does not fit the schema. A schema that cannot be understood or is too long, and a pattern that takes too
/// long, refuse nothing: the server that asked looks at the content too.
pub(super) fn check(schema: &Value, content: &Value) -> Result<(), String> {
    if !content.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    if schema.to_string().len() > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let patterns = PatternOptions::fancy_regex()
        .backtrack_limit(PATTERN_STEPS_MAX)
        .size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::options().should_validate_formats(true);
    let Ok(validator) = options.with_pattern_options(patterns).build(schema) else {
        return Ok(());
    };
    let faults: Vec<_> = validator
        .iter_errors(content)
        .filter(|fault| !matches!(fault.kind(), ValidationErrorKind::BacktrackLimitExceeded { .. }))
        .take(FAULTS_MAX)
        .map(|fault| match fault.instance_path().as_str() {
            "" => fault.to_string(),
            path => format!("{}: {fault}", path.trim_start_matches('/')),
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(schema: &Value, order: &[&str]) -> Vec<String> {
        let order: Vec<_> = order.iter().map(|key| (*key).to_owned()).collect();
        let fields = fields(schema, &order).unwrap();
        fields.iter().map(|field| field.key.to_owned()).collect()
    }

    #[test]
    fn fields_stand_in_the_order_that_was_asked_for() {
        let text = json!({"type": "string"});
        let schema = json!({"properties": {"age": text, "mail": text, "name": text}});
        assert_eq!(keys(&schema, &["name", "age", "gone"]), ["name", "age", "mail"]);
        assert_eq!(keys(&schema, &[]), ["age", "mail", "name"]);
    }

    #[test]
    fn offers_are_found_in_all_ways_of_the_protocol() {
        let offer = |value: &str, title: &str| Offer {
            value: value.to_owned(),
            title: title.to_owned(),
        };
        let titled = json!([{"const": "s", "title": "Small"}, {"const": "l"}]);
        let schema = json!({"properties": {
            "a": {"type": "string", "enum": ["s", "l"]},
            "b": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small"]},
            "c": {"type": "string", "oneOf": titled},
            "d": {"type": "array", "items": {"type": "string", "enum": ["s"]}},
            "e": {"type": "array", "items": {"anyOf": titled}},
        }});
        let fields = fields(&schema, &[]).unwrap();
        let kinds: Vec<_> = fields.into_iter().map(|field| field.kind).collect();
        let named = vec![offer("s", "Small"), offer("l", "l")];
        assert_eq!(
            kinds,
            [
                FieldKind::One(vec![offer("s", "s"), offer("l", "l")]),
                FieldKind::One(named.clone()),
                FieldKind::One(named.clone()),
                FieldKind::Many(vec![offer("s", "s")]),
                FieldKind::Many(named),
            ]
        );
    }

    #[test]
    fn a_schema_that_is_not_simple_has_no_fields() {
        assert_eq!(fields(&json!({"properties": {"a": {"type": "array"}}}), &[]), None);
        assert_eq!(fields(&json!({"properties": {"a": {"type": "object"}}}), &[]), None);
        assert_eq!(fields(&json!({"type": "object"}), &[]), None);
    }

    #[test]
    fn what_does_not_fit_is_told_by_its_place() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 2},
                "age": {"type": "integer", "minimum": 0},
                "mail": {"type": "string", "format": "email"},
                "size": {"type": "string", "enum": ["S", "L"]},
            },
            "required": ["name"],
        });
        let fits = json!({"name": "Bob", "age": 7, "mail": "b@c.de", "size": "L"});
        assert_eq!(check(&schema, &fits), Ok(()));
        for (content, told) in [
            (json!([]), "no JSON object"),
            (json!({}), "\"name\" is a required property"),
            (json!({"name": "B"}), "name: "),
            (json!({"name": "Bob", "age": -1}), "age: "),
            (json!({"name": "Bob", "age": "7"}), "age: "),
            (json!({"name": "Bob", "mail": "nobody"}), "mail: "),
            (json!({"name": "Bob", "size": "M"}), "size: "),
        ] {
            let refused = check(&schema, &content).unwrap_err();
            assert!(refused.contains(told), "{content}: {refused}");
        }
        let odd = json!({"type": 5});
        assert_eq!(check(&odd, &json!({"name": 7})), Ok(()), "left to the server");
        let elsewhere = json!({"$ref": "http://127.0.0.1:1/schema"});
        assert_eq!(check(&elsewhere, &json!({})), Ok(()), "nothing is fetched");
    }

    #[test]
    fn a_schema_that_takes_long_to_understand_refuses_nothing() {
        let content = json!({"a": "x".repeat(20)});
        let refuses = |pattern: &str, more: usize| {
            let field = json!({"type": "string", "pattern": pattern, "title": "t".repeat(more)});
            check(&json!({"type": "object", "properties": {"a": field}}), &content).is_err()
        };
        assert!(refuses("^y+$", 0) && refuses(r"^(y)\1$", 0));
        for (pattern, more) in [
            (r"^(x|xx)+\1y$", 0),
            (r"^(\w{1,90}){1,90}!$", 0),
            ("^y+$", CHECKED_BYTES_MAX),
        ] {
            assert!(!refuses(pattern, more), "{pattern}");
        }
    }
}
