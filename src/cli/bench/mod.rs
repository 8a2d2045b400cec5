//! `bench`: figures of this machine against what we aim at, and against what the machine can do at all.
//!
//! Everything runs in a sandbox, with the simulated agent. A figure that misses its goal is a figure; a line that is
//! lost is a failure.

mod mcp;
mod recovery;
mod render;
mod restart;
mod scan;
mod start;
mod stream;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::args::{BenchArgs, BenchOf};
use super::columns::{Column, list};
use super::exit::{Exit, Failure};
use super::sandbox::{Interrupts, Sandbox};
use super::screen::{eprint, print};

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    /// The name of the measurement.
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    /// Whether the goal is met; none where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
    /// What the same machine did with something simpler in the same run: its name, its value in the same unit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    references: Vec<Reference>,
}

/// What a figure is held against.
#[derive(Clone, Debug, Serialize)]
struct Reference {
    name: &'static str,
    value: f64,
    /// The figure divided by it.
    ratio: f64,
}

/// The goal of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {}", number(*least)),
            Self::AtMost(most) => write!(f, "≤ {}", number(*most)),
        }
    }
}

impl Figure {
    fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            goal: None,
            met: None,
            references: Vec::new(),
        }
    }

    fn goal(self, goal: Goal) -> Self {
        Self {
            goal: Some(goal),
            met: Some(goal.is_met_by(self.value)),
            ..self
        }
    }

    fn against(mut self, name: &'static str, value: f64) -> Self {
        let ratio = self.value / value;
        self.references.push(Reference { name, value, ratio });
        self
    }
}

/// `bench`
pub(crate) async fn bench(args: &BenchArgs) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::new()?;
    let dir = args.dir.as_deref();
    let measuring = async {
        match &args.what {
            BenchOf::Stream { lines, samples } => stream::measure(dir, *lines, *samples).await,
            BenchOf::Start { sessions, samples } => start::measure(dir, *sessions, *samples).await,
            BenchOf::Recovery { sessions, records } => recovery::measure(dir, sessions, records).await,
            BenchOf::Mcp {
                clients,
                rounds,
                reference,
            } => mcp::measure(dir, *clients, *rounds, reference.as_deref()).await,
            BenchOf::Render { kib, samples, only } => render::measure(*kib as usize * 1024, *samples, only).await,
        }
    };
    let figures = tokio::select! {
        figures = measuring => figures?,
        () = interrupts.recv() => return Ok(Exit::Cancelled),
    };
    if cfg!(debug_assertions) {
        eprint("this is a debug build, some ten times slower: measure with `cargo run --release -- bench …`");
    }
    let text = if args.json {
        format!("{:#}\n", json!(figures))
    } else {
        table(&figures)
    };
    print(&text)?;
    Ok(Exit::Ok)
}

fn table(figures: &[Figure]) -> String {
    let row = |figure: &Figure| {
        let goal = figure.goal.map(|goal| goal.to_string()).unwrap_or_default();
        let verdict = match figure.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let references: Vec<String> = figure.references.iter().map(Reference::to_string).collect();
        [
            figure.name.clone(),
            number(figure.value),
            figure.unit.to_owned(),
            goal,
            verdict.to_owned(),
            references.join(", "),
        ]
    };
    let [name, value, unit, goal, verdict, against] = ["", "FIGURE", "", "GOAL", "", "AGAINST"].map(Column::new);
    let columns = [name, value.right(), unit, goal, verdict, against];
    list(columns, &figures.iter().map(row).collect::<Vec<_>>(), None)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} × {} ({})", self.ratio, self.name, number(self.value))
    }
}

/// Three digits that matter, and thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        small if small < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) && digit.is_ascii_digit() {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The value below which this share of the samples lies.
fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = (share * samples.len() as f64).ceil() as usize;
    samples
        .get(at.saturating_sub(1).min(samples.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Creates a session in the sandbox and gives its id.
async fn create(sandbox: &Sandbox, task: &str) -> Result<String, Failure> {
    let request = json!({"task": task, "cwd": sandbox.work()});
    let view = sandbox.client()?.create(&request).await?;
    let view: super::view::View = super::client::read(&view)?;
    Ok(view.session_id.to_string())
}

/// The memory that is a process's own, in MiB: what would be free without it.
fn private_mib(pid: u32) -> Result<f64, Failure> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    let kib = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    Ok(kib.sum::<f64>() / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_briefly() {
        let told = [0.123, 9.5, 30.04, 999.6, 30_000.0, 1_234_567.0].map(number);
        assert_eq!(told, ["0.12", "9.50", "30.0", "1,000", "30,000", "1,234,567"]);
    }

    #[test]
    fn quantiles_are_samples() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            (quantile(&mut samples, 0.5), quantile(&mut samples, 0.99)),
            (50.0, 99.0)
        );
        assert_eq!(quantile(&mut [7.0], 0.99), 7.0);
    }

    #[test]
    fn a_missed_goal_is_shown_as_one() {
        let figures = [
            Figure::new("lines", 20_000.0, "lines/s")
                .goal(Goal::AtLeast(30_000.0))
                .against("cat", 80_000.0),
            Figure::new("delay", 1.0, "ms").goal(Goal::AtMost(2.0)),
        ];
        let table = table(&figures);
        assert!(table.contains("≥ 30,000") && table.contains("missed"), "{table}");
        assert!(table.contains("0.25 × cat (80,000)"), "{table}");
        assert!(table.contains("≤ 2.00") && table.contains(" met"), "{table}");
    }

    #[test]
    fn our_own_memory_can_be_read() {
        assert!(private_mib(std::process::id()).unwrap() > 0.1);
    }
}
