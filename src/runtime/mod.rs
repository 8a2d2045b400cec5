//! The actors: supervisor, executions, registry; and the feed. The only door in from outside is [`Handle`].

pub mod feed;
pub mod handle;
pub mod settings;

mod execution;
mod messages;
mod registry;
mod supervisor;

pub use handle::Handle;
