//! The server that `bench mcp --reference` measures against: rmcp's own service on axum, with one tool.
//!
//! It reads the tool's result from stdin, so that both servers answer the same bytes, and writes its port to stdout.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::net::TcpListener;

/// The name of its tool.
const TOOL: &str = "list_executions";

/// Threads that serve, as many as the daemon's MCP runtime has.
const THREADS: usize = 2;

/// Answers each call with the same result.
#[derive(Clone)]
struct Fixed {
    tool: Tool,
    result: Arc<CallToolResult>,
}

impl ServerHandler for Fixed {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        (name == TOOL).then(|| self.tool.clone())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult {
            tools: vec![self.tool.clone()],
            ..Default::default()
        })
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if params.name != TOOL {
            return Err(ErrorData::invalid_params("there is no such tool", None));
        }
        Ok(CallToolResult::clone(&self.result).into())
    }
}

fn main() {
    let mut result = String::new();
    std::io::stdin().read_to_string(&mut result).expect("stdin can be read");
    let result = serde_json::from_str(&result).expect("stdin has the result of a tool");
    let handler = Fixed {
        tool: Tool::new(TOOL, "Answers the same each time.", Arc::default()),
        result: Arc::new(result),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(serve(handler));
}

async fn serve(handler: Fixed) {
    let sessions = Arc::new(LocalSessionManager::default());
    let config = StreamableHttpServerConfig::default();
    let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port is free");
    let port = listener.local_addr().expect("a listener has an address").port();
    // Without this each answer waits for the client's acknowledgement of its head.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    println!("{port}");
    std::io::stdout().flush().expect("stdout can be written");
    let app = Router::new().route_service("/mcp", service);
    axum::serve(listener, app).await.expect("the server goes on");
}
