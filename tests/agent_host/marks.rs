//! Which processes are ended for the mark that they carry, and where an agent starts.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use cc_executor::agent_host::Secret;
use cc_executor::agent_host::protocol::{
    ATTEMPT_MARK, AcceptedDirectory as Directory, AgentExit, FromHost, ToHost, files,
};
use rustix::process::geteuid;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::client::Client;
use crate::place::{Place, runs, wait_for};

/// Leaves a process that no longer is below the agent, and ends.
const LEAVES: &str = "setsid sleep 1005 </dev/null >/dev/null 2>&1 & exit 0";

/// A process of somebody's own that carries this value, ended with the test.
struct Somebody(Child);

impl Somebody {
    fn carrying(value: &str) -> Self {
        Self::of(Command::new("sleep").arg("1006").env(ATTEMPT_MARK, value))
    }

    fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

async fn end_leftovers(client: &mut Client) -> Vec<String> {
    client.say(&ToHost::EndLeftovers).await;
    let ended = |frame| match frame {
        FromHost::LeftoversEnded { processes } => Some(processes),
        _ => None,
    };
    client.until(ended).await
}

fn ticks_now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let ticks = rustix::param::clock_ticks_per_second();
    now.tv_sec as u64 * ticks + now.tv_nsec as u64 / (1_000_000_000 / ticks)
}

#[actix_web::test]
async fn for_its_mark_only_what_belongs_to_the_attempt_is_ended() {
    let mut place = Place::with_script(LEAVES);
    let early = Secret::random();
    let digits = serde_json::to_value(&early).unwrap()["digits"].clone();
    place.plan.mark = Some(early);
    let mut others = vec![Somebody::carrying(&place.mark())];
    let before = ticks_now();
    wait_for("the clock", || ticks_now() > before);
    // Whatever carries the secret and began before the attempt is none of its processes.
    let made = json!({"digits": digits, "made_at_ticks": ticks_now()});
    place.plan.mark = Some(serde_json::from_value(made).unwrap());
    let attempt = format!("{}/{}", place.plan.session, place.plan.attempt);
    let forged = format!("{attempt}/{}", "0".repeat(32));
    for value in [attempt, forged, place.mark() + "0", place.mark() + "/more"] {
        others.push(Somebody::carrying(&value));
    }
    if geteuid().is_root() {
        let mut command = Command::new("sleep");
        command
            .arg("1006")
            .env(ATTEMPT_MARK, place.mark())
            .uid(65_534)
            .current_dir("/");
        others.push(Somebody::of(&mut command));
    }
    let (mut client, _) = place.host().await;
    wait_for("the agent's end", || place.path(files::EXIT).exists());
    let ended = end_leftovers(&mut client).await;
    assert!(
        matches!(&ended[..], [line] if line.ends_with("sleep 1005")),
        "{ended:?}"
    );
    for other in &others {
        assert!(runs(other.pid()), "{} is nobody's business", other.pid());
    }
    drop(others);
}

#[actix_web::test]
async fn of_an_attempt_that_an_older_version_began_all_that_names_it_is_ended() {
    let mut place = Place::with_script(LEAVES);
    let own = Somebody::carrying(&place.mark());
    let (mut client, _) = place.host().await;
    wait_for("the agent's end", || place.path(files::EXIT).exists());
    let ended = end_leftovers(&mut client).await;
    assert_eq!(ended.len(), 2, "{ended:?}");
    wait_for("its end", || !runs(own.pid()));
}

fn exit_of(place: &Place) -> AgentExit {
    wait_for("the agent's end", || place.path(files::EXIT).exists());
    place.stored(files::EXIT)
}

fn place_in(directory: &Path, script: &str) -> Place {
    let mut place = Place::with_script(script);
    place.plan.cwd = directory.to_owned();
    place.plan.places = vec![Directory::of(directory).unwrap().0];
    place
}

#[actix_web::test]
async fn an_agent_does_not_start_in_another_directory_than_the_one_that_was_accepted() {
    let root = tempfile::tempdir().unwrap();
    let (work, aside) = (root.path().join("work"), root.path().join("aside"));
    std::fs::create_dir(&work).unwrap();
    let mut place = place_in(&work, "pwd -P");
    let mut added = place_in(&work, "pwd -P");
    added.plan.places.push(Directory::of(root.path()).unwrap().0);
    added.plan.places.rotate_left(1);
    std::fs::rename(&work, &aside).unwrap();
    std::os::unix::fs::symlink("/", &work).unwrap();
    for place in [&mut place, &mut added] {
        place.host().await;
        let AgentExit::NotStarted { error } = exit_of(place) else {
            panic!("it started")
        };
        assert!(
            error.contains("another directory") && error.contains("start a new session"),
            "{error}"
        );
    }
}

#[actix_web::test]
async fn an_agent_starts_in_the_directory_that_was_accepted_wherever_it_has_gone() {
    let root = tempfile::tempdir().unwrap();
    let (work, aside) = (root.path().join("work"), root.path().join("aside"));
    std::fs::create_dir(&work).unwrap();
    let mut place = place_in(&work, "pwd -P");
    std::fs::rename(&work, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &work).unwrap();
    place.host().await;
    assert_eq!(exit_of(&place), AgentExit::Code { code: 0 });
    let said = String::from_utf8(place.spool()).unwrap();
    assert_eq!(Path::new(said.trim()), aside.canonicalize().unwrap());
}
