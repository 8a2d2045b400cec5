//! One layer of settings, held against the defaults: they say which keys there are and of which type each is.

use std::ffi::OsStr;

use ::config::{ConfigError, File, FileFormat, Map, Source, Value, ValueKind};

use super::environment::PREFIX;
use super::{Environment, Flag, LoadError};

/// The one setting that may be an array where the default is a string.
const ARGV_KEY: &str = "agent.command";

type Table = Map<String, Value>;

/// Settings as they stand in one place; every value knows the place.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    table: Table,
    written_as: WrittenAs,
}

/// How values are written in a layer.
#[derive(Clone, Copy, Debug)]
enum WrittenAs {
    /// With types of their own.
    Toml,
    /// As text, which the default's type says how to read.
    Text,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Table, ConfigError> {
        Ok(self.table.clone())
    }
}

impl Layer {
    /// The layer of a TOML text.
    pub(super) fn from_toml(text: &str, origin: &str) -> Result<Self, LoadError> {
        let collected = File::from_str(text, FileFormat::Toml).collect();
        let table = collected.map_err(|error| LoadError::Syntax {
            origin: origin.to_owned(),
            why: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Self {
            table: with_origin(table, &origin.to_owned()),
            written_as: WrittenAs::Toml,
        })
    }

    /// The layer of the variables `CC_EXECUTOR__SECTION__KEY`; what stands after the key keeps its spelling.
    pub(super) fn from_environment(environment: &Environment) -> Result<Self, LoadError> {
        let mut table = Table::new();
        for (name, value) in environment.settings() {
            let path: Vec<String> = name[PREFIX.len()..]
                .split("__")
                .enumerate()
                .map(|(depth, part)| {
                    if depth < 2 {
                        part.to_ascii_lowercase()
                    } else {
                        part.to_owned()
                    }
                })
                .collect();
            let text = utf8(&path, name, value)?;
            insert(&mut table, &path, &name.to_owned(), text);
        }
        Ok(Self {
            table,
            written_as: WrittenAs::Text,
        })
    }

    /// The layer of the flags.
    pub(super) fn from_flags(flags: &[Flag]) -> Self {
        let mut table = Table::new();
        for flag in flags {
            let path: Vec<String> = flag.key.split('.').map(str::to_owned).collect();
            insert(&mut table, &path, &flag.flag.to_owned(), &flag.value);
        }
        Self {
            table,
            written_as: WrittenAs::Text,
        }
    }

    /// The layer with every value of the type that the default has, or what does not fit.
    pub(super) fn fit(self, defaults: &Self) -> Result<Self, LoadError> {
        let table = fit_table(self.table, &defaults.table, "", self.written_as)?;
        Ok(Self { table, ..self })
    }
}

fn with_origin(table: Table, origin: &String) -> Table {
    let stamped = |value: Value| match value.kind {
        ValueKind::Table(table) => Value::new(Some(origin), with_origin(table, origin)),
        kind => Value::new(Some(origin), kind),
    };
    table.into_iter().map(|(key, value)| (key, stamped(value))).collect()
}

fn utf8<'a>(path: &[String], name: &str, value: &'a OsStr) -> Result<&'a str, LoadError> {
    value.to_str().ok_or_else(|| LoadError::BadValue {
        key: path.join("."),
        origin: name.to_owned(),
        why: "is not UTF-8".to_owned(),
    })
}

/// Puts a text at its place in the tree. Where a text and a table want the same place the table stays, and the fit
/// finds what is wrong with it.
fn insert(table: &mut Table, path: &[String], origin: &String, text: &str) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        table
            .entry(key.clone())
            .or_insert_with(|| Value::new(Some(origin), text));
        return;
    }
    let below = table
        .entry(key.clone())
        .or_insert_with(|| Value::new(Some(origin), Table::new()));
    if !matches!(below.kind, ValueKind::Table(_)) {
        *below = Value::new(Some(origin), Table::new());
    }
    if let ValueKind::Table(below) = &mut below.kind {
        insert(below, rest, origin, text);
    }
}

fn fit_table(table: Table, defaults: &Table, above: &str, written_as: WrittenAs) -> Result<Table, LoadError> {
    let mut fitted = Table::new();
    for (name, value) in table {
        let key = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        let Some(default) = defaults.get(&name) else {
            return Err(unknown_key(key, &value, above, defaults));
        };
        fitted.insert(name, fit_value(&key, value, default, written_as)?);
    }
    Ok(fitted)
}

fn unknown_key(key: String, value: &Value, above: &str, defaults: &Table) -> LoadError {
    let mut names: Vec<&str> = defaults.keys().map(String::as_str).collect();
    names.sort_unstable();
    let place = if above.is_empty() {
        "the sections are".to_owned()
    } else {
        format!("[{above}] has")
    };
    LoadError::UnknownKey {
        key,
        origin: origin(value),
        known: format!("{place} {}", names.join(", ")),
    }
}

fn fit_value(key: &str, value: Value, default: &Value, written_as: WrittenAs) -> Result<Value, LoadError> {
    let origin = origin(&value);
    let fitted = match (&default.kind, value.kind) {
        (ValueKind::Table(defaults), ValueKind::Table(table)) if defaults.is_empty() => {
            strings_only(table).map(Into::into)
        }
        (ValueKind::Table(defaults), ValueKind::Table(table)) => {
            let table = fit_table(table, defaults, key, written_as)?;
            Ok(ValueKind::Table(table))
        }
        (ValueKind::Table(_), _) => Err("is a section: set what is in it".to_owned()),
        (ValueKind::String(_), ValueKind::Array(items)) if key == ARGV_KEY => Ok(ValueKind::Array(items)),
        (ValueKind::String(_), ValueKind::String(text)) if key == ARGV_KEY && text.starts_with('[') => argv(&text),
        (ValueKind::String(_), ValueKind::String(text)) => Ok(ValueKind::String(text)),
        (ValueKind::String(_), _) => Err("is not a string".to_owned()),
        (ValueKind::Array(_), ValueKind::Array(items)) => Ok(ValueKind::Array(items)),
        (_, ValueKind::String(text)) => match written_as {
            WrittenAs::Text => read_text(&text, &default.kind),
            WrittenAs::Toml => Err(format!("is a string, not {}", kind_name(&default.kind))),
        },
        (ValueKind::Boolean(_), kind @ ValueKind::Boolean(_)) => Ok(kind),
        (ValueKind::I64(_), kind @ ValueKind::I64(0..)) => Ok(kind),
        (ValueKind::Float(_), kind @ (ValueKind::Float(_) | ValueKind::I64(_))) => Ok(kind),
        (default, _) => Err(format!("is not {}", kind_name(default))),
    };
    match fitted {
        Ok(kind) => Ok(Value::new(Some(&origin), kind)),
        Err(why) => Err(LoadError::BadValue {
            key: key.to_owned(),
            origin,
            why,
        }),
    }
}

fn origin(value: &Value) -> String {
    value.origin().unwrap_or_default().to_owned()
}

fn strings_only(table: Table) -> Result<Table, String> {
    match table
        .iter()
        .find(|(_, value)| !matches!(value.kind, ValueKind::String(_)))
    {
        Some((name, _)) => Err(format!("holds {name}, which is not a string")),
        None => Ok(table),
    }
}

fn argv(text: &str) -> Result<ValueKind, String> {
    let items: Vec<String> =
        serde_json::from_str(text).map_err(|error| format!("is no JSON array of strings: {error}"))?;
    Ok(items.into())
}

fn read_text(text: &str, default: &ValueKind) -> Result<ValueKind, String> {
    let read = match default {
        ValueKind::Boolean(_) => text.parse().ok().map(ValueKind::Boolean),
        ValueKind::Float(_) => text.parse().ok().map(ValueKind::Float),
        ValueKind::Array(_) if text.is_empty() => Some(Vec::<String>::new().into()),
        ValueKind::Array(_) => return argv(text),
        _ => text.parse().ok().filter(|number| *number >= 0).map(ValueKind::I64),
    };
    read.ok_or_else(|| format!("is {text:?}, not {}", kind_name(default)))
}

fn kind_name(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean(_) => "true or false",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "a string",
        ValueKind::Table(_) => "a section",
        ValueKind::Array(_) => "an array of strings",
        _ => "a whole number from 0",
    }
}
