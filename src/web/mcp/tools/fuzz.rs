//! Bodies of calls to the MCP endpoint that nobody vouches for.

use rmcp::model::{ClientJsonRpcMessage, ClientRequest, JsonRpcMessage};

use super::{arguments, read};

/// A message of a client: it is read or refused, and so are the arguments of a tool's call, whichever tool it names.
pub fn body(bytes: &[u8]) {
    let Ok(JsonRpcMessage::Request(request)) = serde_json::from_slice::<ClientJsonRpcMessage>(bytes) else {
        return;
    };
    let ClientRequest::CallToolRequest(call) = request.request else {
        return;
    };
    let given = call.params.arguments;
    if let Ok(request) = read::<arguments::Execute>(given.clone()).and_then(|execute| execute.to_request(None)) {
        let again = serde_json::to_string(&request).expect("a request can be kept");
        assert!(serde_json::from_str::<crate::session::request::Request>(&again).is_ok_and(|kept| kept == request));
    }
    let _ = read::<arguments::ResumeArguments>(given.clone());
    let _ = read::<arguments::GetArguments>(given.clone());
    let _ = read::<arguments::ListArguments>(given.clone());
    let _ = read::<arguments::AnswerArguments>(given.clone());
    let _ = read::<arguments::ControlArguments>(given);
}
