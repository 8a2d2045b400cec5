//! Styles and scripts, built into the binary.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Path;
use actix_web::{HttpResponse, ResponseError};

use crate::web::error::{Code, Problem};

/// One file: its name, its type, its text.
type Asset = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Every file there is.
const ASSETS: &[Asset] = &[
    ("page.css", STYLE, include_str!("assets/page.css")),
    ("session.css", STYLE, include_str!("assets/session.css")),
    ("icon.svg", PICTURE, include_str!("assets/icon.svg")),
    ("common.js", SCRIPT, include_str!("assets/common.js")),
    ("drafts.js", SCRIPT, include_str!("assets/drafts.js")),
    ("entered.js", SCRIPT, include_str!("assets/entered.js")),
    ("forms.js", SCRIPT, include_str!("assets/forms.js")),
    ("history.js", SCRIPT, include_str!("assets/history.js")),
    ("live.js", SCRIPT, include_str!("assets/live.js")),
    ("secret.js", SCRIPT, include_str!("assets/secret.js")),
    ("session.js", SCRIPT, include_str!("assets/session.js")),
    ("sessions.js", SCRIPT, include_str!("assets/sessions.js")),
    ("timeline.js", SCRIPT, include_str!("assets/timeline.js")),
    ("transcript.js", SCRIPT, include_str!("assets/transcript.js")),
];

/// `GET /assets/{name}`
pub(in crate::web) async fn get(name: Path<String>) -> HttpResponse {
    match ASSETS.iter().find(|(known, _, _)| *known == name.as_str()) {
        Some((_, kind, text)) => HttpResponse::Ok().insert_header((CONTENT_TYPE, *kind)).body(*text),
        None => Problem::new(Code::NoSuchRoute, format!("there is no asset {:?}", name.as_str())).error_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_import_nothing_but_each_other() {
        for (name, _, text) in ASSETS.iter().filter(|(_, kind, _)| *kind == SCRIPT) {
            let imports = text.lines().filter(|line| line.starts_with("import "));
            for line in imports {
                let from = line.rsplit_once("\"./").and_then(|(_, from)| from.strip_suffix("\";"));
                assert!(
                    ASSETS.iter().any(|(known, _, _)| Some(*known) == from),
                    "{name}: {line}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for (name, _, text) in ASSETS {
            let without_namespace = text.replace("http://www.w3.org/", "");
            assert!(
                !without_namespace.contains("http://") && !without_namespace.contains("https://"),
                "{name}"
            );
        }
    }
}
