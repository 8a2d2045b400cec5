//! `doctor`: what stands in the way of the daemon's work, and the repair of its database.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::DoctorArgs;
use super::clean::{clean, name};
use super::exit::{Exit, Failure};
use super::screen::{print, print_json};
use crate::config::Flag;
use crate::daemon::Options;
use crate::daemon::doctor::{self, Repair};
use crate::store::StoreError;
use crate::store::{Rebuilt, Salvaged};
use crate::web::Finding;

/// `doctor`
pub(crate) fn doctor(state_dir: Option<PathBuf>, args: &DoctorArgs) -> Result<Exit, Failure> {
    let flags = state_dir.map(|dir| Flag {
        flag: "--state-dir".to_owned(),
        key: "state.dir".to_owned(),
        value: dir.display().to_string(),
    });
    let options = Options {
        flags: flags.into_iter().collect(),
        ..Options::default()
    };
    if args.rebuild {
        return rebuild(&options, args.json);
    }
    let findings = doctor::examine(&options);
    let is_well = findings.iter().all(|finding| finding.ok);
    if args.json {
        print_json(&format!("{}\n", json!(findings)))?;
    } else {
        print(&findings.iter().map(line).collect::<String>())?;
    }
    Ok(if is_well { Exit::Ok } else { Exit::Failed })
}

fn rebuild(options: &Options, json: bool) -> Result<Exit, Failure> {
    let repair = doctor::rebuild(options).map_err(|error| match error.downcast_ref::<StoreError>() {
        Some(_) => Failure::Failed(format!("{error:#}")),
        None => Failure::Refused(format!("{error:#}")),
    })?;
    match (&repair, json) {
        (_, true) => print_json(&format!("{}\n", object(&repair)))?,
        (Repair::Rows(rebuilt), false) => print(&rows(rebuilt))?,
        (Repair::File(salvaged), false) => print(&file(salvaged))?,
    }
    Ok(Exit::Ok)
}

fn object(repair: &Repair) -> Value {
    match repair {
        Repair::Rows(rebuilt) => json!({"rows_rebuilt": rebuilt.rows, "records_left_out": rebuilt.left_out}),
        Repair::File(salvaged) => json!({
            "sessions_saved": salvaged.sessions,
            "records_saved": salvaged.records,
            "records_lost": salvaged.lost,
            "sessions_ended": salvaged.ended,
            "sessions_lost": salvaged.gone,
            "damaged_file": salvaged.kept,
        }),
    }
}

fn rows(Rebuilt { rows, left_out }: &Rebuilt) -> String {
    let mut told = format!("rebuilt the rows of {rows} sessions from their records\n");
    if *left_out > 0 {
        told += &format!("{left_out} of the records cannot be read and were left out\n");
    }
    told
}

fn file(salvaged: &Salvaged) -> String {
    let Salvaged {
        sessions,
        records,
        lost,
        ended,
        gone,
        kept,
    } = salvaged;
    let kept = name(&kept.display().to_string());
    let mut told = format!(
        "the journal was damaged: {records} records of {sessions} sessions were saved in a new one; the old one is {kept}\n"
    );
    if *lost > 0 {
        told += &format!(
            "{lost} records are lost, and a notice stands in the place of each; what agents wrote also stands in the \
             `stdout.jsonl` files below the folder `sessions`\n"
        );
    }
    if *ended > 0 {
        told += &format!("{ended} sessions have ended, since how they stood is lost: resume them to go on\n");
    }
    if *gone > 0 {
        told += &format!("{gone} sessions are lost with their beginnings\n");
    }
    told
}

fn line(finding: &Finding) -> String {
    let mark = if finding.ok { "ok " } else { "BAD" };
    format!("{mark}  {:<16} {}\n", finding.check, clean(&finding.detail))
}
