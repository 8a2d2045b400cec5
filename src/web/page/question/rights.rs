//! The rights that the CLI suggests to grant along with a permission, in words.

use maud::{Markup, html};
use serde_json::Value;

use crate::web::page::text::visible;

/// All of them; what is not understood is shown as it is, so that nothing is granted unseen.
pub(super) fn describe(suggestions: &[Value]) -> Markup {
    html! {
        @for (place, suggestion) in suggestions.iter().enumerate() {
            @if place > 0 { ", " }
            (one(suggestion).unwrap_or_else(|| html! { code { (visible(&suggestion.to_string())) } }))
        }
    }
}

fn one(suggestion: &Value) -> Option<Markup> {
    match suggestion.get("type")?.as_str()? {
        "addRules" if suggestion.get("behavior").and_then(Value::as_str) == Some("allow") => {
            let rules = suggestion.get("rules")?.as_array()?;
            let rules: Vec<String> = rules.iter().map(rule).collect::<Option<_>>()?;
            Some(html! { code { (visible(&rules.join(", "))) } })
        }
        "setMode" => {
            let mode = suggestion.get("mode")?.as_str()?;
            Some(html! { "the permission mode " code { (visible(mode)) } })
        }
        "addDirectories" => {
            let directories = suggestion.get("directories")?.as_array()?;
            let directories: Vec<&str> = directories.iter().map(Value::as_str).collect::<Option<_>>()?;
            Some(html! { "work in " code { (visible(&directories.join(", "))) } })
        }
        _ => None,
    }
}

fn rule(rule: &Value) -> Option<String> {
    let tool = rule.get("toolName")?.as_str()?;
    Some(match rule.get("ruleContent").and_then(Value::as_str) {
        Some(content) => format!("{tool}({content})"),
        None => tool.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rights_are_told_in_words_and_none_is_granted_unseen() {
        let rules = json!({"type": "addRules", "behavior": "allow", "rules": [{"toolName": "Bash", "ruleContent": "ls:*"}, {"toolName": "Read"}]});
        let mode = json!({"type": "setMode", "mode": "acceptEdits"});
        let denying = json!({"type": "addRules", "behavior": "deny", "rules": []});
        let html = describe(&[rules, mode, denying, json!({"type": "new"})]).into_string();
        insta::assert_snapshot!(html, @r#"<code>Bash(ls:*), Read</code>, the permission mode <code>acceptEdits</code>, <code>{&quot;behavior&quot;:&quot;deny&quot;,&quot;rules&quot;:[],&quot;type&quot;:&quot;addRules&quot;}</code>, <code>{&quot;type&quot;:&quot;new&quot;}</code>"#);
    }
}
