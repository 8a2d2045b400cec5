//! `export`: a whole session on standard output, as it comes; to a terminal, with what is hidden in it made visible.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use futures_util::StreamExt;

use super::args::{ExportArgs, ExportFormat};
use super::client::{Client, lost, session_path};
use super::exit::{Exit, Failure};
use crate::session::visible;

/// `export`
pub(crate) async fn export(client: &Client, args: &ExportArgs) -> Result<Exit, Failure> {
    let format = args.format.to_possible_value();
    let format = format.as_ref().map_or("jsonl", |value| value.get_name());
    let path = format!("{}/export?format={format}", session_path(&args.id));
    let mut answer = client.open_file(&path).await?;
    let mut out = std::io::stdout().lock();
    let mut shown = std::io::stdout()
        .is_terminal()
        .then(|| TerminalExport::new(args.format));
    while let Some(part) = answer.next().await {
        let part = part.map_err(lost)?;
        match &mut shown {
            Some(shown) => out.write_all(shown.push(&part).as_bytes())?,
            None => out.write_all(&part)?,
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}

/// An export on its way to a terminal; its parts may end within a character.
struct TerminalExport {
    is_json: bool,
    rest: Vec<u8>,
}

impl TerminalExport {
    fn new(format: ExportFormat) -> Self {
        Self {
            is_json: !matches!(format, ExportFormat::Markdown),
            rest: Vec::new(),
        }
    }

    fn push(&mut self, part: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(part);
        let whole = match std::str::from_utf8(&bytes) {
            Ok(_) => bytes.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => bytes.len(),
        };
        self.rest = bytes.split_off(whole);
        let text = String::from_utf8_lossy(&bytes);
        let shown: Cow<'_, str> = match self.is_json {
            true => visible::json(&text),
            false => visible::guard(&text),
        };
        shown.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_anywhere_a_terminal_is_sent_the_same() {
        let text = "{\"text\":\"grüße \u{202e}\u{9b}31m ⟨\"}\n";
        for (format, expected) in [
            (ExportFormat::Jsonl, "{\"text\":\"grüße \\u202e\\u009b31m \\u27e8\"}\n"),
            (ExportFormat::Markdown, "{\"text\":\"grüße ⟨U+202E⟩⟨U+009B⟩31m ⟨\"}\n"),
        ] {
            for cut in 0..=text.len() {
                let mut shown = TerminalExport::new(format);
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(shown.push(first) + &shown.push(second), expected);
            }
        }
    }
}
