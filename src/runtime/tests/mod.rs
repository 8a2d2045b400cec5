//! The runtime under simulated time: the real actors on the store in memory, with agents and hosts played by the test,
//! on tokio's paused clock. Hours pass as soon as nobody has anything to do.
//!
//! [`world`] is the daemon and its machine, [`agent`] plays an agent by a script and keeps a [`conversation`], [`host`] is
//! the other end of each link, [`lines`] are the lines that an agent prints. A world that is dropped fails its test if two
//! agents of a session were ever alive at once, or if one of them was treated as no host would.

mod agent;
mod clarify;
mod conversation;
mod ends;
mod faults;
mod flow;
mod host;
mod hours;
mod limits;
mod lines;
mod links;
mod login;
mod meant;
mod owed;
mod policy;
mod questions;
mod reattach;
mod shown;
mod silence;
mod slots;
mod terms;
mod timers;
mod told;
mod troubles;
mod trust;
mod waits;
mod world;
