//! The pure core: what a session is, what can happen to it, and what is written down about it.
//!
//! Nothing here does I/O, reads a clock or knows an actor. Read in this order: [`id`], [`request`] and [`umask`],
//! [`message`], [`question`], [`grant`] and [`form`] (what an agent says), [`turn`] (when it has finished),
//! [`outcome`], [`restart`], [`stall`], [`state`] and [`decide`] (what follows), [`journal`] and [`secrets`] (how it is
//! recorded), [`summary`], [`shown`] (what people see of it), [`terms`], [`timers`], [`login`] and [`evidence`] (folds
//! of a journal), [`limits`] and [`amounts`] (what it may use, and how that is written), [`hex`] (how bytes are),
//! [`excerpt`] (how texts are cut), [`kin`] (what an agent may ask for, and pass on), [`opening`], [`interruption`],
//! [`digest`] and [`words`] (what an agent is told first), [`clarify`], [`trust`] and [`asked`] (what may come before
//! the work).

pub mod amounts;
pub mod asked;
pub mod checkpoint;
pub mod clarify;
pub mod decide;
pub mod digest;
pub mod evidence;
pub mod excerpt;
#[cfg(test)]
mod folds;
pub mod form;
pub mod grant;
pub mod hex;
pub mod id;
mod inputs;
pub mod interruption;
pub mod journal;
pub mod kin;
pub mod limits;
pub mod login;
pub mod message;
pub mod nesting;
pub mod opening;
pub mod outbox;
pub mod outcome;
pub mod question;
pub mod request;
pub mod restart;
#[cfg(test)]
pub(crate) mod samples;
pub mod secrets;
pub mod shown;
pub mod stall;
pub mod state;
pub mod summary;
pub mod telling;
pub mod terms;
pub mod timers;
pub mod trust;
pub mod turn;
pub mod umask;
pub mod visible;
pub mod words;
