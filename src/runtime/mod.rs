//! The actors: supervisor, executions, registry; and the feed. The only door in from outside is [`Handle`].

pub mod feed;
pub mod handle;

pub use handle::Handle;
