//! `bench mcp`: light calls of many MCP clients at once, against rmcp's own service on axum.
//!
//! Each client has a connection and calls `list_executions` again as soon as it has the answer. The reference is given the
//! daemon's first answer, so that both servers send the same bytes. They are measured in turn, and the medians count.

use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Figure, Goal, create, quantile};
use crate::cli::exit::Failure;
use crate::cli::sandbox::{Sandbox, SimulatedAgents};

/// The least share of the reference's calls.
const GOAL_SHARE: f64 = 0.8;

/// How long each server is called in a round, and before the first.
const ROUND: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

const TOOL: &str = "list_executions";

/// The two ways in which clients talk.
#[derive(Clone, Copy)]
enum ClientEra {
    Sessions,
    Stateless,
}

/// A server, and the token that it wants.
struct MeasuredServer {
    port: u16,
    token: String,
}

/// A client with a connection of its own.
struct LoadClient {
    stream: BufReader<TcpStream>,
    era: ClientEra,
    /// The headers of each of its requests.
    headers: String,
    calls: u64,
    body: Vec<u8>,
}

/// The reference's process; ended with this.
struct ReferenceServer(Child);

impl Drop for ReferenceServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures both eras.
pub(super) async fn measure(
    dir: Option<&Path>,
    clients: u64,
    rounds: u64,
    reference: Option<&Path>,
) -> Result<Vec<Figure>, Failure> {
    let mut sandbox = Sandbox::create(dir, SimulatedAgents::Plain, &[])?;
    sandbox.start().await?;
    let past = create(&sandbox, "say hello").await?;
    while !sandbox.client()?.view(&past).await?.has_ended() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = std::fs::read_to_string(sandbox.state().join("token"))?;
    let daemon = MeasuredServer {
        port: sandbox.port()?,
        token: token.trim().to_owned(),
    };
    let answer = LoadClient::connect(&daemon, ClientEra::Sessions).await?.call().await?;
    let reference = reference.map(|path| start(path, &answer)).transpose()?;
    let mut figures = Vec::new();
    for era in [ClientEra::Sessions, ClientEra::Stateless] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(rate(&daemon, era, clients).await?);
            if let Some((_, server)) = &reference {
                theirs.push(rate(server, era, clients).await?);
            }
        }
        figures.extend(told(era, clients, &mut ours, &mut theirs));
    }
    drop(reference);
    sandbox.close().await?;
    Ok(figures)
}

fn told(era: ClientEra, clients: u64, ours: &mut [f64], theirs: &mut [f64]) -> Vec<Figure> {
    let who = match era {
        ClientEra::Sessions => "with sessions",
        ClientEra::Stateless => "without sessions",
    };
    let calls = quantile(ours, 0.5);
    let figure = Figure::new(format!("light MCP calls, {clients} clients {who}"), calls, "calls/s");
    if theirs.is_empty() {
        return vec![figure];
    }
    let reference = quantile(theirs, 0.5);
    let share = Figure::new(format!("its share of the reference, {who}"), calls / reference, "×");
    vec![
        figure.against("rmcp on axum", reference),
        share.goal(Goal::AtLeast(GOAL_SHARE)),
    ]
}

/// Starts the reference, which answers each call with this result.
fn start(program: &Path, result: &Value) -> Result<(ReferenceServer, MeasuredServer), Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("cannot start {}: {error}", program.display()));
    let mut command = Command::new(program);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = ReferenceServer(child.map_err(failed)?);
    if let Some(mut stdin) = child.0.stdin.take() {
        stdin.write_all(result.to_string().as_bytes())?;
    }
    let mut port = String::new();
    if let Some(stdout) = child.0.stdout.take() {
        io::BufReader::new(stdout).read_line(&mut port)?;
    }
    let port = port.trim().parse();
    let port = port.map_err(|_| Failure::Failed(format!("{} tells no port", program.display())))?;
    let token = String::new();
    Ok((child, MeasuredServer { port, token }))
}

/// Calls a second that a server answers to so many clients.
async fn rate(server: &MeasuredServer, era: ClientEra, clients: u64) -> Result<f64, Failure> {
    let clients = (0..clients).map(|_| LoadClient::connect(server, era));
    let mut clients = try_join_all(clients).await?;
    let mut call_for = async |time: Duration| {
        let began = Instant::now();
        let calls = clients.iter_mut().map(async |client| {
            let mut calls = 0;
            while began.elapsed() < time {
                client.call().await?;
                calls += 1;
            }
            Ok::<u64, Failure>(calls)
        });
        let calls: u64 = try_join_all(calls).await?.iter().sum();
        Ok::<f64, Failure>(calls as f64 / began.elapsed().as_secs_f64())
    };
    call_for(WARM_UP).await?;
    call_for(ROUND).await
}

impl ClientEra {
    fn revision(self) -> &'static str {
        match self {
            Self::Sessions => "2025-11-25",
            Self::Stateless => "2026-07-28",
        }
    }
}

impl LoadClient {
    /// A client that is connected, and introduced where its era wants that.
    async fn connect(server: &MeasuredServer, era: ClientEra) -> Result<Self, Failure> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            era,
            headers: format!("Host: 127.0.0.1:{}\r\n", server.port),
            calls: 0,
            body: Vec::new(),
        };
        if !server.token.is_empty() {
            client.headers += &format!("Authorization: Bearer {}\r\n", server.token);
        }
        let version = format!("MCP-Protocol-Version: {}\r\n", era.revision());
        match era {
            ClientEra::Sessions => client.introduce(&version).await?,
            ClientEra::Stateless => {
                client.headers += &format!("{version}Mcp-Method: tools/call\r\nMcp-Name: {TOOL}\r\n");
            }
        }
        Ok(client)
    }

    async fn introduce(&mut self, version: &str) -> Result<(), Failure> {
        let client = json!({"name": "bench", "version": "1"});
        let params = json!({"protocolVersion": self.era.revision(), "capabilities": {}, "clientInfo": client});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let session = self.post(&hello.to_string()).await?;
        let session = session.ok_or_else(|| Failure::Failed("the server names no MCP session".to_owned()))?;
        self.headers += &format!("{version}Mcp-Session-Id: {session}\r\n");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.post(&initialized.to_string()).await.map(drop)
    }

    /// Calls the tool and gives its result.
    async fn call(&mut self) -> Result<Value, Failure> {
        self.calls += 1;
        let mut params = json!({"name": TOOL, "arguments": {"limit": 1}});
        if let ClientEra::Stateless = self.era {
            params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": self.era.revision(),
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"}});
        }
        let message = json!({"jsonrpc": "2.0", "id": self.calls, "method": "tools/call", "params": params});
        self.post(&message.to_string()).await?;
        let text = String::from_utf8_lossy(&self.body);
        // A stream has other events before the answer.
        let answer = text
            .lines()
            .map(|line| line.strip_prefix("data:").unwrap_or(line))
            .find(|line| line.contains("\"result\""));
        let answer: Option<Value> = answer.and_then(|answer| serde_json::from_str(answer).ok());
        match answer {
            Some(mut answer) if answer["id"] == self.calls => Ok(answer["result"].take()),
            _ => Err(Failure::Failed(format!("a call was answered by {text}"))),
        }
    }

    /// Posts a message and reads the whole answer; gives the MCP session that it names.
    async fn post(&mut self, message: &str) -> Result<Option<String>, Failure> {
        let head = format!(
            "POST /mcp HTTP/1.1\r\n{}Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{message}",
            self.headers,
            message.len()
        );
        self.stream.write_all(head.as_bytes()).await?;
        let status = self.line().await?;
        if !matches!(status.split(' ').nth(1), Some("200" | "202")) {
            return Err(Failure::Failed(format!("the server answered {status}")));
        }
        let (mut session, mut length, mut is_chunked) = (None, 0, false);
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "mcp-session-id" => session = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "transfer-encoding" => is_chunked = value.contains("chunked"),
                _ => {}
            }
        }
        self.body.clear();
        self.read(length).await?;
        while is_chunked {
            let size = self.line().await?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            self.read(size).await?;
            self.line().await?;
            is_chunked = size > 0;
        }
        Ok(session)
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await? {
            0 => Err(Failure::Failed("the server has closed a connection".to_owned())),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    async fn read(&mut self, bytes: usize) -> io::Result<()> {
        let begin = self.body.len();
        self.body.resize(begin + bytes, 0);
        self.stream.read_exact(&mut self.body[begin..]).await.map(drop)
    }
}
