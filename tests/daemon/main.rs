//! The daemon from outside, with the simulated agent: what it promises whoever drives it over HTTP.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod access_audit;
mod access_crowd;
mod access_page;
mod access_paths;
mod access_roles;
mod access_socket;
mod access_streams;
mod access_thief;
mod access_wire;
mod again;
mod checks;
mod clarify;
mod clocks;
mod crash;
mod damage;
mod death;
mod disk;
mod doctor;
mod faults;
mod git;
mod intake;
mod kin;
mod kin_asked;
mod kin_known;
mod limits;
mod main_job;
mod odd_lines;
mod odd_places;
mod outside;
mod promises;
mod removal;
mod resume;
mod robust;
mod shown;
mod stream;
mod stream_load;
mod stream_restart;
mod stuck;
mod terms;
mod trust;
mod upgrade;
mod upgrade_kept;
mod upgrade_live;
mod watched;
