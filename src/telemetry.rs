//! What the daemon tells about itself: log lines, for people or as JSON, to stderr or into files of a day each; and
//! panics, which are logged wherever they happen.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use tracing::{Subscriber, error};
use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};

use crate::config::{LogFormat, LogSettings};

/// The destination of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// The standard error stream.
    Stderr,
    /// `daemon.<date>.log` in this directory; `log.files_max` of them are kept.
    Files(PathBuf),
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not understood.
    #[error("the setting `log.level` is not understood")]
    Level,
    /// The log file cannot be opened.
    #[error("cannot log to {}: {source}", dir.display())]
    File {
        /// The directory.
        dir: PathBuf,
        /// The error below it.
        source: InitError,
    },
    /// There is a log already.
    #[error("logging is already set up")]
    Twice,
}

/// Begins to log, for the whole process, panics included.
pub fn init(settings: &LogSettings, log_to: &LogTo) -> Result<(), TelemetryError> {
    let subscriber = subscriber(settings, log_to)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

type AnySubscriber = Box<dyn Subscriber + Send + Sync>;

fn subscriber(settings: &LogSettings, log_to: &LogTo) -> Result<AnySubscriber, TelemetryError> {
    let targets = settings.targets().ok_or(TelemetryError::Level)?;
    Ok(match log_to {
        LogTo::Stderr => write_to(settings.format, targets, io::stderr),
        LogTo::Files(dir) => write_to(settings.format, targets, open_files(dir, settings.files_max)?),
    })
}

/// Lines are written by whoever logs them: none is lost at a crash.
fn open_files(dir: &Path, files_max: usize) -> Result<RollingFileAppender, TelemetryError> {
    let opened = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("daemon")
        .filename_suffix("log")
        .max_log_files(files_max)
        .build(dir);
    opened.map_err(|source| TelemetryError::File {
        dir: dir.to_owned(),
        source,
    })
}

fn write_to<W>(format: LogFormat, targets: Targets, writer: W) -> AnySubscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A log that cannot be written would otherwise be complained about on stderr, and where that is gone too the
    // complaint panics.
    let lines = fmt::layer::<Registry>()
        .with_writer(writer)
        .with_ansi(false)
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Box::new(tracing_subscriber::registry().with(lines.with_filter(targets)))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = std::thread::current();
    error!(
        message = panic.payload_as_str().unwrap_or("a panic without a text"),
        location = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace,
        panic = true,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(format: LogFormat, level: &str) -> LogSettings {
        LogSettings {
            format,
            level: level.into(),
            files_max: 2,
        }
    }

    fn logged(settings: &LogSettings, act: impl FnOnce()) -> String {
        let dir = tempfile::tempdir().unwrap();
        let subscriber = subscriber(settings, &LogTo::Files(dir.path().into())).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
        let name = file.file_name().into_string().unwrap();
        assert!(name.starts_with("daemon.") && name.ends_with(".log"), "{name}");
        std::fs::read_to_string(file.path()).unwrap()
    }

    #[test]
    fn the_level_decides_what_is_logged() {
        let text = logged(&settings(LogFormat::Human, "warn,cc_executor::telemetry=info"), || {
            tracing::info!(attempt = 3, "agent started");
            tracing::debug!("unseen");
            tracing::info!(target: "elsewhere", "unseen");
            tracing::warn!(target: "elsewhere", "seen");
        });
        assert!(text.contains("agent started") && text.contains("attempt=3"), "{text}");
        assert!(text.contains(" seen") && !text.contains("unseen"), "{text}");
    }

    #[test]
    fn json_lines_hold_the_facts_as_fields() {
        let text = logged(&settings(LogFormat::Json, "info"), || {
            tracing::info!(attempt = 3, "agent started")
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["attempt"], &line["message"]),
            (&3.into(), &"agent started".into())
        );
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        for level in ["loud", "", "3", "=info", "info,web=loud"] {
            assert!(settings(LogFormat::Human, level).targets().is_none(), "{level:?}");
        }
        assert!(settings(LogFormat::Human, "OFF, web=trace").targets().is_some());
    }
}
