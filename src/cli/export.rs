//! `export`: a whole session on standard output, as it comes.

use std::io::Write;

use clap::ValueEnum;
use futures_util::StreamExt;

use super::args::ExportArgs;
use super::client::{Client, lost, session_path};
use super::exit::{Exit, Failure};

/// `export`
pub(crate) async fn export(client: &Client, args: &ExportArgs) -> Result<Exit, Failure> {
    let format = args.format.to_possible_value();
    let format = format.as_ref().map_or("jsonl", |value| value.get_name());
    let path = format!("{}/export?format={format}", session_path(&args.id));
    let mut answer = client.open_file(&path).await?;
    let mut out = std::io::stdout().lock();
    while let Some(part) = answer.next().await {
        out.write_all(&part.map_err(lost)?)?;
    }
    out.flush()?;
    Ok(Exit::Ok)
}
