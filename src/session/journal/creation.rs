//! A `session.created` record without secrets.

use std::borrow::Cow;

use serde_json::Value;

use super::Created;
use crate::session::request::is_inline;
use crate::session::secrets::masked;

/// The data of a `session.created` record as it is shown. Records of earlier versions hold the values.
pub fn shown_creation(data: &str) -> Cow<'_, str> {
    if !data.contains("mcp_config") {
        return Cow::Borrowed(data);
    }
    let known = serde_json::from_str::<Created>(data).ok().and_then(|mut created| {
        created.request = created.request.without_secrets().into_owned();
        serde_json::to_string(&created).ok()
    });
    Cow::Owned(known.unwrap_or_else(|| shown_unread(data)))
}

/// The same of a record that this version cannot read as what it is.
fn shown_unread(data: &str) -> String {
    let mut value = serde_json::from_str(data).unwrap_or(Value::Null);
    let configs = value.pointer_mut("/request/mcp_config").and_then(Value::as_array_mut);
    for config in configs.into_iter().flatten() {
        if let Some(text) = config.as_str().filter(|text| is_inline(text)) {
            *config = masked(text).into();
        }
    }
    value.to_string()
}
