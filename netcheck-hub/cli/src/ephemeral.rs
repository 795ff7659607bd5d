//! `check --ephemeral` and `clean`: netcheck for the time of one check, and what such checks left behind. `netcheck-reach` makes
//! and removes the objects; this says when, and what comes of it.
//!
//! One task waits for signals, until it is dropped. The first signal ends the check, and what was installed is removed; the second
//! ends the removal, and what is left is named.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use netcheck_proto::v1;
use netcheck_reach::Cluster;
use netcheck_reach::ephemeral::{EphemeralError, Found, ObjectRef, Removal, Run, Settings, Standing, Stuck};

use crate::args::{CheckArgs, CleanArgs, Global, Output};
use crate::check::{self, Checked, Printing};
use crate::conclusion::Conclusion;
use crate::connect::Hub;

mod signals;

use signals::Signals;

/// How long pods may take to start where nothing is said.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);
/// How long agents may take to have their plans.
const SETTLING: Duration = Duration::from_secs(30);
/// How long plans do not change that are whole.
const SETTLED: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(500);
/// Objects that are named where some are left.
const NAMED: usize = 4;

fn say(line: &str) {
    eprintln!("kubectl-netcheck: {line}");
}

fn done(text: String) -> Checked {
    Checked { text, conclusion: Conclusion::Fine, trouble: String::new() }
}

async fn open(global: &Global) -> anyhow::Result<Cluster> {
    let opened = Cluster::open(&global.kube.access()).await?;
    opened.context("no kubeconfig says which cluster; --kubeconfig names one")
}

fn settings(args: &CheckArgs) -> Settings {
    let args = &args.ephemeral;
    Settings {
        image: args.image.clone(),
        pull_policy: args.image_pull_policy.map(|policy| policy.as_str().to_owned()),
        pull_secret: args.image_pull_secret.clone(),
        ..Settings::default()
    }
}

/// What a check would create, without asking anybody.
pub(crate) fn dry_run(global: &Global, args: &CheckArgs) -> anyhow::Result<Checked> {
    let namespace = global.kube.namespace();
    let run = Run::plan(namespace, &settings(args))?;
    if global.output == Output::Json {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": run.bodies().collect::<Vec<_>>()});
        return Ok(done(format!("{list:#}\n")));
    }
    let mut text = format!(
        "A check would create, in namespace {}, and remove afterwards:\n",
        if namespace.is_some() { run.namespace() } else { "netcheck-… of its own" }
    );
    // Each run has another name.
    let shown = |object_ref: &ObjectRef| object_ref.to_string().replace(run.name(), "netcheck-…");
    run.object_refs().for_each(|object_ref| text += &format!("  {}\n", shown(object_ref)));
    if namespace.is_some() {
        text += "The namespace only if it is not there.\n";
    }
    text += &format!(
        "Its image is {}. On every node it has TCP and UDP port 6100, TCP ports 6101 and 6102, or those\n",
        run.images().join(", ")
    );
    text += "of the next ten that are free of netcheck.\n";
    Ok(done(text))
}

/// Installs, checks, prints and removes.
pub(crate) async fn check(
    global: &Global,
    args: &CheckArgs,
    mut printing: Printing<'_>,
) -> anyhow::Result<Checked> {
    let signals = Signals::listen().context("cannot wait for signals")?;
    let cluster = open(global).await?;
    let mut run = signals.first(cluster.prepare(&settings(args))).await.context("interrupted")??;
    say(&format!(
        "installing {} objects, run {}, into namespace {}",
        run.object_refs().count(),
        run.name(),
        run.namespace()
    ));
    let checked = work(&cluster, &mut run, (args, &signals, &mut printing)).await;
    match &checked {
        // Whoever reads it need not wait for the removal. A reader that has seen enough is no failure.
        Ok(checked) => {
            drop(printing.out.write_all(checked.text.as_bytes()).and_then(|()| printing.out.flush()));
        }
        Err(error) if run.removal().left().is_empty() => say(&format!("nothing was installed: {error:#}")),
        Err(error) => say(&format!("{error:#}; removing what was installed")),
    }
    let left = remove(&cluster, run.removal(), &signals)
        .await
        .map_err(|left| format!("{left}; `{}` removes it", clean_command(global, run.name())));
    match (checked, left) {
        (Ok(checked), Ok(())) => Ok(Checked { text: String::new(), ..checked }),
        // What is unreachable is the answer, whatever is left.
        (Ok(checked), Err(left)) if checked.conclusion == Conclusion::Unreachable => {
            Ok(Checked { text: String::new(), trouble: left, ..checked })
        }
        (Ok(_), Err(left)) => anyhow::bail!(left),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(left)) => anyhow::bail!("{error:#}; {left}"),
    }
}

/// All that is to be followed by a removal.
async fn work(
    cluster: &Cluster,
    run: &mut Run,
    (args, signals, printing): (&CheckArgs, &Signals, &mut Printing<'_>),
) -> anyhow::Result<Checked> {
    run.install(cluster, || signals.count() > 0).await?;
    let timeout = args.ephemeral.install_timeout.unwrap_or(INSTALL_TIMEOUT);
    let report = |standing: &Standing| say(&standing.to_string());
    let standing =
        signals.first(run.wait(cluster, timeout, report)).await.ok_or(EphemeralError::Interrupted)??;
    if !standing.is_ready() {
        say(&format!("checking without waiting for {}", standing.behind.join("; ")));
    }
    let asking = async {
        let hub = Hub::in_pod(run.hub(cluster).await?).await?;
        settle(&hub).await?;
        let Printing { output, screen, out } = printing;
        check::check(hub.channel, args, Printing { output: *output, screen, out: &mut **out }).await
    };
    signals.first(asking).await.ok_or(EphemeralError::Interrupted)?
}

/// Waits until every agent that there should be has a plan, and plans no longer grow. Who is missing then, the check says.
async fn settle(hub: &Hub) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut last = (0, Instant::now());
    while begun.elapsed() < SETTLING {
        let nodes = crate::answer(hub.reachability().list_nodes(v1::ListNodesRequest {})).await?.nodes;
        let expected = || nodes.iter().filter(|node| node.expected_absent.is_empty());
        let agents = || expected().filter_map(|node| node.agent.as_ref().filter(|agent| agent.connected));
        let paths: u64 = agents().map(|agent| u64::from(agent.paths)).sum();
        if paths != last.0 {
            last = (paths, Instant::now());
        }
        if paths > 0 && agents().count() == expected().count() && last.1.elapsed() >= SETTLED {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Objects of a run that stay in the cluster.
#[derive(Debug, thiserror::Error)]
#[error("{} in the cluster: {why}", left(object_refs))]
struct Left {
    object_refs: Vec<ObjectRef>,
    why: LeftReason,
}

/// Why objects stay.
#[derive(Debug, thiserror::Error)]
enum LeftReason {
    #[error("interrupted again")]
    Interrupted,
    #[error("{0}")]
    Stuck(Stuck),
}

/// Removes; else what is left, and why.
async fn remove(cluster: &Cluster, mut removal: Removal, signals: &Signals) -> Result<(), Left> {
    if removal.left().is_empty() {
        return Ok(());
    }
    // One that came before ended the check.
    let first = signals.count() == 0;
    let reporting = async {
        if first {
            signals.reach(1).await;
            say("removing what was installed; Ctrl-C once more leaves it there");
        }
        std::future::pending::<()>().await;
    };
    let why = tokio::select! {
        biased;
        () = signals.reach(2) => LeftReason::Interrupted,
        removed = removal.run(cluster) => match removed {
            Ok(()) => {
                say("removed all that was installed");
                return Ok(());
            }
            Err(stuck) => LeftReason::Stuck(stuck),
        },
        () = reporting => LeftReason::Interrupted,
    };
    Err(Left { object_refs: removal.left().to_vec(), why })
}

/// `14 objects are left (namespace x, …)`.
fn left(object_refs: &[ObjectRef]) -> String {
    let mut named: Vec<String> = object_refs.iter().rev().take(NAMED).map(ToString::to_string).collect();
    if object_refs.len() > NAMED {
        named.push("…".to_owned());
    }
    let are = if object_refs.len() == 1 { "object is" } else { "objects are" };
    format!("{} {are} left ({})", object_refs.len(), named.join(", "))
}

/// What removes the rest of a run.
fn clean_command(global: &Global, run: &str) -> String {
    format!("kubectl netcheck clean --run {run}{}", global.kube.which())
}

fn shown(found: &Found) -> String {
    let age = found.since.and_then(|since| SystemTime::now().duration_since(since).ok());
    let age =
        age.map(|age| format!(", {} old", humantime::format_duration(Duration::from_secs(age.as_secs()))));
    format!("run {} in namespace {}{}", found.run, found.namespace, age.unwrap_or_default())
}

/// Removes what runs left.
pub(crate) async fn clean(global: &Global, args: &CleanArgs) -> anyhow::Result<Checked> {
    let signals = Signals::listen().context("cannot wait for signals")?;
    let cluster = open(global).await?;
    let found = signals.first(cluster.runs(args.run.as_deref())).await.context("interrupted")??;
    if found.is_empty() {
        let of = args.run.as_ref().map_or_else(|| "of any run".to_owned(), |run| format!("of run {run}"));
        return Ok(done(format!("✓ nothing {of} is in the cluster\n")));
    }
    let mut text = String::new();
    let mut trouble = Vec::new();
    for found in &found {
        if args.dry_run {
            text += &format!("would remove {}:\n", shown(found));
            found.object_refs.iter().rev().for_each(|object_ref| text += &format!("  {object_ref}\n"));
            continue;
        }
        say(&format!("removing {}: {} objects", shown(found), found.object_refs.len()));
        match remove(&cluster, found.removal(), &signals).await {
            Ok(()) => text += &format!("✓ removed {}: {} objects\n", shown(found), found.object_refs.len()),
            Err(why) => trouble.push(format!("of run {} {why}", found.run)),
        }
    }
    anyhow::ensure!(trouble.is_empty(), "{}", trouble.join("; "));
    Ok(done(text))
}
