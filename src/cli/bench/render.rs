//! `bench render`: what it costs to show what an agent writes, against what half as much of it costs.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{Figure, Goal, ms};
use crate::cli::exit::Failure;
use crate::web::page::load::{Load, loads};

/// Twice as much text costs no more than so much more: cost that grows with the square is 4.
const GOAL_RATIO: f64 = 3.0;

/// Times below this say nothing.
const TIME_MIN: Duration = Duration::from_millis(2);

/// Measures the kinds of texts whose names hold `only`, at most so many bytes of each. The work is a thread's own, so that
/// an interrupt ends the process in the middle of it.
pub(super) async fn measure(bytes: usize, samples: u64, only: &str) -> Result<Vec<Figure>, Failure> {
    let (done, measured) = tokio::sync::oneshot::channel();
    let only = only.to_owned();
    let work = move || {
        let loads = loads();
        let wanted = loads.iter().filter(|load| load.name.contains(&only));
        // Nobody to tell where it was interrupted.
        let _ = done.send(wanted.map(|load| figure(load, bytes, samples)).collect());
    };
    std::thread::Builder::new().name("render".to_owned()).spawn(work)?;
    measured
        .await
        .map_err(|_| Failure::Failed("a text could not be rendered".to_owned()))
}

/// The worst of the ways to write a text.
fn figure(load: &Load, bytes: usize, samples: u64) -> Figure {
    let bytes = bytes.min(load.bytes_max());
    let (halves, wholes) = (load.texts(bytes / 2), load.texts(bytes));
    let (mut worst, mut longest) = (0.0_f64, Duration::ZERO);
    for (half, whole) in halves.iter().zip(&wholes) {
        // What is loaded and compiled at the first use is none of the text's cost.
        load.render(half);
        let (of_half, of_whole) = (least(load, half, samples), least(load, whole, samples));
        worst = worst.max(of_whole.as_secs_f64() / of_half.max(TIME_MIN).as_secs_f64());
        longest = longest.max(of_whole);
    }
    let name = format!("{}, {} KiB in {:.1} ms", load.name, bytes / 1024, ms(longest));
    Figure::new(name, worst, "× half of it").goal(Goal::AtMost(GOAL_RATIO))
}

/// The least processor time of some: what else the machine does only adds to it.
fn least(load: &Load, text: &str, samples: u64) -> Duration {
    let time = |_| {
        let begun = spent();
        load.render(text);
        spent().saturating_sub(begun)
    };
    (0..samples.max(1)).map(time).min().unwrap_or_default()
}

/// The time for which this thread has had a processor.
fn spent() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(tv_sec).unwrap_or_default(),
        u32::try_from(tv_nsec).unwrap_or_default(),
    )
}
