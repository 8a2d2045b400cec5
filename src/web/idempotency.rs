//! `Idempotency-Key`: a call that creates a session can be made again without creating another one, also after the
//! daemon was restarted in between.

use actix_web::http::header::{HeaderName, LOCATION};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Faces;
use super::calls::{Created, caller_name};
use super::error::{Code, Problem};
use crate::runtime::CallError;
use crate::session::hex::hex;
use crate::session::request::Claim;
use crate::session::summary::Summary;
use crate::store::StoreRefusal;

/// The header in which a caller gives a key of his own.
pub(super) const KEY_HEADER: &str = "Idempotency-Key";

/// Says that a session was created by an earlier call under this key.
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// The claim of a call, where it has a key. `body` is what was sent; of an environment only the names count, since a
/// digest of secrets would be kept with the journal.
pub(super) fn claim(request: &HttpRequest, body: &Map<String, Value>) -> Result<Option<Claim>, Problem> {
    let mut given = request.headers().get_all(KEY_HEADER);
    let (Some(first), more) = (given.next(), given.next()) else {
        return Ok(None);
    };
    let fits = |key: &&str| (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = first.to_str().ok().filter(fits).filter(|_| more.is_none());
    let key = key.ok_or_else(|| {
        let detail = format!("{KEY_HEADER} must come once and be 1 to {KEY_BYTES_MAX} visible ASCII characters");
        Problem::new(Code::BadHeader, detail)
    })?;
    Ok(Some(Claim {
        caller: caller_name(request)?,
        key: key.to_owned(),
        digest: digest(request.path(), body),
    }))
}

/// Creates a session with `create`, unless this very call has done so before.
pub(super) async fn once(
    faces: &Faces,
    claim: Option<Claim>,
    create: impl AsyncFnOnce(Option<Claim>) -> Result<std::sync::Arc<Summary>, CallError>,
) -> Result<HttpResponse, Problem> {
    let Some(claim) = claim else {
        return Ok(respond(Created::of(faces, &*create(None).await?).await, false));
    };
    if let Some(found) = faces.handle.claimed(&claim).await? {
        return Ok(respond(Created::of(faces, &found).await, true));
    }
    match create(Some(claim.clone())).await {
        Ok(summary) => Ok(respond(Created::of(faces, &summary).await, false)),
        // The same call was made twice at once, and the other one was quicker.
        Err(CallError::Refused(StoreRefusal::KeyTaken(owner))) => {
            let found = faces.handle.claimed(&claim).await?;
            let found = found.ok_or_else(|| CallError::NoSuchSession(owner.to_string()))?;
            Ok(respond(Created::of(faces, &found).await, true))
        }
        Err(error) => Err(error.into()),
    }
}

/// A call that is repeated is answered like the first one, and says so.
fn respond(created: Created<'_>, is_replay: bool) -> HttpResponse {
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, created.location()));
    if is_replay {
        response.insert_header((REPLAYED_HEADER, "true"));
    }
    response.json(created)
}

/// A digest of what was asked for, whatever the order of its fields.
fn digest(path: &str, body: &Map<String, Value>) -> String {
    let mut body = body.clone();
    if let Some(Value::Object(env)) = body.get_mut("env") {
        env.values_mut().for_each(|value| *value = Value::Null);
    }
    let mut text = format!("{path}\n");
    write_sorted(&mut text, &Value::Object(body));
    hex(&Sha256::digest(text.as_bytes()))
}

fn write_sorted(text: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in fields {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_sorted(text, value);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_sorted(text, item);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::access::{Caller, Role};
    use actix_web::HttpMessage;
    use actix_web::test::TestRequest;

    fn object(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_key_is_short_and_visible_and_comes_once() {
        let claim_of = |keys: &[&str]| {
            let mut request = TestRequest::with_uri("/api/sessions");
            for key in keys {
                request = request.append_header((KEY_HEADER, *key));
            }
            let request = request.to_http_request();
            request.extensions_mut().insert(Caller::holding("ci", Role::Operator));
            claim(&request, &Map::new()).map(|claim| claim.map(|claim| claim.key))
        };
        assert_eq!(claim_of(&[]), Ok(None));
        assert_eq!(claim_of(&["8e03978e-40d5"]), Ok(Some("8e03978e-40d5".to_owned())));
        for bad in [&[""][..], &["a b"], &["\u{e4}"], &["a", "a"], &[&*"x".repeat(256)]] {
            assert_eq!(claim_of(bad).unwrap_err().code(), Code::BadHeader, "{bad:?}");
        }
    }

    #[test]
    fn the_digest_is_of_what_is_asked_and_not_of_how_it_is_written() {
        let of = |json: &str| digest("/api/sessions", &object(json));
        let one = of(r#"{"task": "t", "cwd": "/w", "env": {"A": "1"}}"#);
        assert_eq!(one, of(r#"{"cwd":"/w","env":{"A":"2"},"task":"t"}"#));
        for other in [
            r#"{"task": "u", "cwd": "/w", "env": {"A": "1"}}"#,
            r#"{"task": "t", "cwd": "/w", "env": {"B": "1"}}"#,
            r#"{"task": "t", "cwd": "/w"}"#,
        ] {
            assert_ne!(one, of(other), "{other}");
        }
        assert_ne!(
            one,
            digest(
                "/api/sessions/import",
                &object(r#"{"task": "t", "cwd": "/w", "env": {"A": "1"}}"#)
            )
        );
    }
}
