//! Request bodies: JSON, no longer than `limits.body_bytes_max`, whole within `server.body_timeout_seconds`, and refused as
//! a problem document where they do not fit.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::{JsonPayloadError, PayloadError};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data, JsonConfig};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};
use futures_util::Stream;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::{Sleep, sleep};

use super::Faces;
use super::error::{Code, Problem};
use super::remedy::Audience;

/// A body in which everything may be left out, and so the whole of it.
#[derive(Debug)]
pub(super) struct Optional<T>(pub(super) T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for Optional<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = says_json(request);
        let bytes_max = request
            .app_data::<Data<Faces>>()
            .map_or(0, |faces| faces.body_bytes_max);
        let reading = Bytes::from_request(request, payload);
        Box::pin(async move {
            let body = reading.await.map_err(|error| unreadable(&error, bytes_max))?;
            read(&body, is_json).map(Self)
        })
    }
}

/// Refuses a call whose body does not come in time, whatever its route makes of what came of it.
pub(super) async fn in_time<B: MessageBody + 'static>(
    limit: Duration,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_late = Rc::new(Cell::new(false));
    match request.take_payload() {
        Payload::None => {}
        body => {
            let body = InTime {
                body,
                deadline: Box::pin(sleep(limit)),
                is_late: Rc::clone(&is_late),
            };
            request.set_payload(Payload::Stream {
                payload: Box::pin(body),
            });
        }
    }
    let answer = next.call(request).await?.map_into_boxed_body();
    if !is_late.get() {
        return Ok(answer);
    }
    let told = format!(
        "the body did not come within {} s (`server.body_timeout_seconds`)",
        limit.as_secs()
    );
    let reader = Audience::of(answer.request());
    Ok(answer.into_response(Problem::new(Code::SlowBody, told).respond(reader)))
}

/// A body that fails when its time is over.
struct InTime {
    body: Payload,
    deadline: Pin<Box<Sleep>>,
    is_late: Rc<Cell<bool>>,
}

impl Stream for InTime {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = Pin::new(&mut self.body).poll_next(cx) {
            return Poll::Ready(next);
        }
        self.deadline.as_mut().poll(cx).map(|()| {
            self.is_late.set(true);
            Some(Err(PayloadError::Io(io::ErrorKind::TimedOut.into())))
        })
    }
}

fn read<T: DeserializeOwned + Default>(body: &[u8], is_json: bool) -> Result<T, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    if !is_json {
        return Err(not_json());
    }
    let read = serde_json::from_slice::<Option<T>>(body);
    let read = read.map_err(|error| Problem::new(Code::BadBody, error.to_string()))?;
    Ok(read.unwrap_or_default())
}

/// Reads the fields of an object, in which a whole number may be written as a fraction.
pub(super) fn read_fields<T: DeserializeOwned>(mut body: Map<String, Value>) -> Result<T, Problem> {
    write_whole_numbers(&mut body);
    serde_json::from_value(Value::Object(body)).map_err(|error| Problem::new(Code::BadBody, error.to_string()))
}

/// Writes the fields that are whole numbers as such: to JSON, 3.0 is one.
pub(super) fn write_whole_numbers(body: &mut Map<String, Value>) {
    /// From here on not every whole number is a fraction's.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    for value in body.values_mut() {
        let fraction = value.as_f64().filter(|_| value.is_f64());
        if let Some(number) = fraction.filter(|number| number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(number)) {
            *value = Value::from(number as u64);
        }
    }
}

/// The refusal of a body of another type.
fn not_json() -> Problem {
    let detail = "the body must be JSON and say so: `Content-Type: application/json`";
    Problem::new(Code::NotJson, detail)
}

/// The refusal of a body that is too long.
pub(super) fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body has more than {bytes_max} bytes (`limits.body_bytes_max`)");
    Problem::new(Code::BodyTooLarge, detail)
}

/// Limits JSON bodies, and refuses those that do not fit.
pub(super) fn json_config(body_bytes_max: usize) -> JsonConfig {
    let refuse = move |error, _: &HttpRequest| of_json(&error, body_bytes_max).into();
    JsonConfig::default().limit(body_bytes_max).error_handler(refuse)
}

fn of_json(error: &JsonPayloadError, body_bytes_max: usize) -> Problem {
    match error {
        JsonPayloadError::OverflowKnownLength { .. } | JsonPayloadError::Overflow { .. } => too_large(body_bytes_max),
        JsonPayloadError::ContentType => not_json(),
        JsonPayloadError::Deserialize(error) => Problem::new(Code::BadBody, error.to_string()),
        other => Problem::new(Code::BadBody, other.to_string()),
    }
}

fn says_json(request: &HttpRequest) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
        || (kind.starts_with("application/") && kind.to_ascii_lowercase().ends_with("+json"))
}

fn unreadable(error: &actix_web::Error, bytes_max: usize) -> Problem {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => too_large(bytes_max),
        Some(_) | None => Problem::new(Code::BadBody, format!("the body cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn a_body_may_be_left_out_and_nothing_in_it_misspelt() {
        #[derive(Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Body {
            at: Option<u64>,
        }
        assert_eq!(read::<Body>(b" ", false).unwrap(), Body::default());
        assert_eq!(read::<Body>(b"null", true).unwrap(), Body::default());
        assert_eq!(read::<Body>(br#"{"at": 7}"#, true).unwrap().at, Some(7));
        let code = |body: &[u8], is_json| read::<Body>(body, is_json).unwrap_err().code();
        for wrong in [&br#"{"att": 1}"#[..], br#"{"at": -1}"#, b"["] {
            assert_eq!(code(wrong, true), Code::BadBody);
        }
        assert_eq!(code(b"{}", false), Code::NotJson);
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_fraction() {
        let mut body: Map<String, Value> =
            serde_json::from_str(r#"{"a": 3.0, "b": 0.5, "c": -1.0, "d": 1e300}"#).unwrap();
        write_whole_numbers(&mut body);
        assert_eq!(
            Value::Object(body),
            serde_json::json!({"a": 3, "b": 0.5, "c": -1.0, "d": 1e300})
        );
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        for (kind, is) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let request = TestRequest::default()
                .insert_header(("Content-Type", kind))
                .to_http_request();
            assert_eq!(says_json(&request), is, "{kind}");
        }
        assert!(!says_json(&TestRequest::default().to_http_request()));
    }
}
