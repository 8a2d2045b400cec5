//! `doctor`: what stands in the way of the daemon's work, and the repair of its database.

use std::path::PathBuf;

use serde_json::json;

use super::args::DoctorArgs;
use super::clean::clean;
use super::exit::{Exit, Failure};
use super::screen::print;
use crate::config::Flag;
use crate::daemon::Options;
use crate::daemon::doctor;
use crate::store::StoreError;
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
        print(&format!("{}\n", json!(findings)))?;
    } else {
        print(&findings.iter().map(line).collect::<String>())?;
    }
    Ok(if is_well { Exit::Ok } else { Exit::Failed })
}

fn rebuild(options: &Options, json: bool) -> Result<Exit, Failure> {
    let rebuilt = doctor::rebuild(options).map_err(|error| match error.downcast_ref::<StoreError>() {
        Some(_) => Failure::Failed(format!("{error:#}")),
        None => Failure::Refused(format!("{error:#}")),
    })?;
    if json {
        let shown = json!({"rows_rebuilt": rebuilt.rows, "records_left_out": rebuilt.left_out});
        print(&format!("{shown}\n"))?;
        return Ok(Exit::Ok);
    }
    let rows = rebuilt.rows;
    print(&format!("rebuilt the rows of {rows} sessions from their records\n"))?;
    if rebuilt.left_out > 0 {
        let left_out = rebuilt.left_out;
        print(&format!("{left_out} of the records cannot be read and were left out\n"))?;
    }
    Ok(Exit::Ok)
}

fn line(finding: &Finding) -> String {
    let mark = if finding.ok { "ok " } else { "BAD" };
    format!("{mark}  {:<16} {}\n", finding.check, clean(&finding.detail))
}
