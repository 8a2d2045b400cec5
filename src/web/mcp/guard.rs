//! A panic is an error of its request alone. rmcp would leave the request unanswered, and its client waiting.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use rmcp::ErrorData;
use rmcp::model::CallToolResponse;

use super::result;

/// A call of a tool that is answered whatever happens in it, in words for the model.
pub async fn answered(
    call: impl Future<Output = Result<CallToolResponse, ErrorData>>,
) -> Result<CallToolResponse, ErrorData> {
    let caught = AssertUnwindSafe(call).catch_unwind().await;
    caught.unwrap_or_else(|_| {
        Ok(
            result::failure("the tool failed inside; the session, if one was started, goes on: call list_executions")
                .into(),
        )
    })
}

/// Any other request.
pub(super) async fn guarded<T>(work: impl Future<Output = Result<T, ErrorData>>) -> Result<T, ErrorData> {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(ErrorData::internal_error("the request failed inside", None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::ErrorCode;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_request_alone() {
        let error = guarded::<()>(async { panic!("a fault of ours") }).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::INTERNAL_ERROR);
        assert_eq!(guarded(async { Ok(1) }).await, Ok(1));
    }
}
