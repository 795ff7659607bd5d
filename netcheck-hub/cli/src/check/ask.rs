//! Runs a check at the hub, with its progress on standard error.

use std::cell::Cell;
use std::error::Error as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use indicatif::{ProgressBar, ProgressStyle};
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::run_check_response::Message;
use tonic::Status;

use crate::connect::Asking;
use crate::{ANSWER_LIMIT, refused};

/// A hub says something once a second; more often, and much later, where it looks at millions of paths.
const SILENCE: Duration = Duration::from_secs(120);
/// How often a check is begun anew whose connection broke.
const AGAIN: usize = 4;
/// How often a line says how far it is where no bar can be drawn.
const LINES: Duration = Duration::from_secs(5);

/// Runs it. `take` gets each cell as it comes.
pub(crate) async fn run(
    channel: Asking,
    request: v1::RunCheckRequest,
    take: impl FnMut(&v1::MatrixCell) -> std::io::Result<()>,
) -> anyhow::Result<v1::CheckResult> {
    run_as(channel, request, None, take).await
}

/// The same, as one of several that run at a time: of the cluster of this name. Where the connection breaks before the first
/// cell came, the hub is asked again, and the round begins anew.
pub(crate) async fn run_as(
    channel: Asking,
    request: v1::RunCheckRequest,
    cluster: Option<&str>,
    mut take: impl FnMut(&v1::MatrixCell) -> std::io::Result<()>,
) -> anyhow::Result<v1::CheckResult> {
    let mut progress = Progress::new(cluster.is_none() && std::io::stderr().is_terminal(), cluster)?;
    let mut waits = ExponentialBuilder::default().with_max_times(AGAIN).build();
    let taken = Cell::new(false);
    let mut take = |cell: &v1::MatrixCell| {
        taken.set(true);
        take(cell)
    };
    loop {
        let broken = match once(channel.clone(), request.clone(), &mut progress, &mut take).await {
            Err(Failed::Broken(status)) => status,
            Err(Failed::Other(error)) => return Err(error),
            Ok(result) => {
                progress.end();
                return Ok(result);
            }
        };
        match waits.next().filter(|_| !taken.get()) {
            Some(wait) => {
                progress.again(&broken);
                tokio::time::sleep(wait).await;
            }
            None => return Err(refused(broken)),
        }
    }
}

/// Why a check came to no result.
enum Failed {
    /// The connection broke: nobody refused anything.
    Broken(Status),
    Other(anyhow::Error),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        // What the hub itself says of a call comes without a cause of its own.
        if status.source().is_some() { Self::Broken(status) } else { Self::Other(refused(status)) }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

async fn once(
    channel: Asking,
    request: v1::RunCheckRequest,
    progress: &mut Progress,
    take: &mut dyn FnMut(&v1::MatrixCell) -> std::io::Result<()>,
) -> Result<v1::CheckResult, Failed> {
    let mut client = CheckServiceClient::new(channel).max_decoding_message_size(ANSWER_LIMIT);
    let silent =
        |_elapsed| Failed::Other(anyhow::anyhow!("the hub said nothing for {} s", SILENCE.as_secs()));
    let asked = tokio::time::timeout(SILENCE, client.run_check(request)).await.map_err(silent)?;
    let mut stream = asked?.into_inner();
    loop {
        let message = tokio::time::timeout(SILENCE, stream.message()).await.map_err(silent)??;
        let message = message
            .ok_or_else(|| Failed::Other(anyhow::anyhow!("the hub ended the check without a result")))?;
        match message.message {
            Some(Message::Progress(so_far)) => progress.show(&so_far),
            Some(Message::Cells(cells)) => cells.cells.iter().try_for_each(&mut *take)?,
            Some(Message::Result(mut result)) => {
                // A hub of before cells came apart.
                result.cells.drain(..).try_for_each(|cell| take(&cell))?;
                return Ok(result);
            }
            None => {}
        }
    }
}

/// A bar on a terminal, else lines.
struct Progress {
    bar: Option<ProgressBar>,
    begun: bool,
    last_shown: Instant,
    /// What lines begin with.
    whose: String,
}

fn seconds(wire: Option<&prost_types::Duration>) -> u64 {
    wire.map_or(0, |wire| u64::try_from(wire.seconds).unwrap_or_default() + u64::from(wire.nanos > 0))
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// What a check waits for: `n3 (14), n4 (2, all in turn later)`.
fn slow(so_far: &v1::CheckProgress) -> String {
    let nodes = so_far.waiting.iter().map(|node| match node.inactive {
        0 => format!("{} ({})", node.node, node.paths),
        later => format!("{} ({}, {later} in turn later)", node.node, node.paths),
    });
    let nodes: Vec<String> = nodes.collect();
    if nodes.is_empty() { String::new() } else { format!(", waiting for {}", nodes.join(", ")) }
}

/// `120 of 544 paths probed, 4 lose probes, waiting for n3 (14)`.
fn line(so_far: &v1::CheckProgress) -> String {
    let lose = if so_far.failed > 0 { format!(", {} lose probes", so_far.failed) } else { String::new() };
    format!("{} of {} paths probed{lose}{}", so_far.paths_done, so_far.paths_total, slow(so_far))
}

/// What is said before it begins.
fn beginning(so_far: &v1::CheckProgress) -> String {
    let expected = seconds(so_far.expected.as_ref());
    if expected == 0 {
        return format!("probing {} paths", so_far.paths_total);
    }
    let give_up = seconds(so_far.deadline.as_ref());
    let late = if give_up < expected { "; it gives up before that" } else { "; it gives up" };
    format!("probing {} paths: about {}{late} after {}", so_far.paths_total, span(expected), span(give_up))
}

impl Progress {
    fn new(terminal: bool, cluster: Option<&str>) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} paths probed{msg}  {elapsed}")
            .context("the bar's template is wrong")?;
        let bar = terminal.then(|| ProgressBar::new(0).with_style(style));
        let whose = cluster.map(|cluster| format!("{cluster}: ")).unwrap_or_default();
        Ok(Self { bar, begun: false, last_shown: Instant::now(), whose })
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("kubectl-netcheck: {}{line}", self.whose),
        }
    }

    /// The check begins anew.
    fn again(&mut self, broken: &Status) {
        self.begun = false;
        self.say(&format!("the connection to the hub broke ({}): the check begins anew", broken.message()));
    }

    fn show(&mut self, so_far: &v1::CheckProgress) {
        if !std::mem::replace(&mut self.begun, true) {
            self.say(&beginning(so_far));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(so_far.paths_total);
            bar.set_position(so_far.paths_done);
            let lose =
                if so_far.failed > 0 { format!(", {} lose probes", so_far.failed) } else { String::new() };
            bar.set_message(lose + &slow(so_far));
        } else if self.last_shown.elapsed() >= LINES {
            self.last_shown = Instant::now();
            self.say(&line(so_far));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_counts_and_what_is_slow() {
        let waiting = vec![
            v1::CheckWaiting { node: "n3".to_owned(), paths: 14, inactive: 0 },
            v1::CheckWaiting { node: "n4".to_owned(), paths: 2, inactive: 2 },
        ];
        let so_far = v1::CheckProgress {
            paths_done: 120,
            paths_total: 544,
            failed: 4,
            expected: Some(prost_types::Duration { seconds: 600, nanos: 1 }),
            deadline: Some(prost_types::Duration { seconds: 1200, nanos: 0 }),
            waiting,
            ..Default::default()
        };
        assert_eq!(
            line(&so_far),
            "120 of 544 paths probed, 4 lose probes, waiting for n3 (14), n4 (2, 2 in turn later)"
        );
        assert_eq!(beginning(&so_far), "probing 544 paths: about 10m 1s; it gives up after 20m");
        let short =
            v1::CheckProgress { deadline: Some(prost_types::Duration { seconds: 30, nanos: 0 }), ..so_far };
        assert!(beginning(&short).contains("gives up before that after 30s"));
    }
}
