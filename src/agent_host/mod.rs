//! The agent host: the small process that starts one agent, keeps it, and serves its websocket.

pub mod protocol;
