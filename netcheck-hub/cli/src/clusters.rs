//! `check` between two clusters: each hub is sent what the other cluster has, for as long as the check takes; both probe
//! it in rounds of their own, and what comes of both is one result.
//!
//! [`Two`] is the whole of it, in order: connect, list, lease, check and renew, end, conclude. What it has leased ends by
//! itself if it is killed. [`conclude`] says which pattern of failures is called what, [`merge`] makes one result of two.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use netcheck_proto::{convert, v1};

mod conclude;
mod lease;
mod merge;

use crate::args::{CheckArgs, Command, Global, Output, ResumeArgs, Side};
use crate::check::config::Config;
use crate::check::document::{BETWEEN, Cluster, Problem, Selection};
use crate::check::exceptions::Exceptions;
use crate::check::gather::{Gather, Gathered, OF};
use crate::check::record::{PathRecord, fitting};
use crate::check::{self, Checked, Expect, Files};
use crate::connect::{self, Hub};
use crate::style::Screen;
use conclude::{Legs, Names, To, Way};
use lease::Leased;

/// Failed paths to service addresses that are kept until it is known whether all of them fail.
const HELD: usize = 20_000;
/// Addresses that agents refuse, as far as the hubs report them.
const REFUSED: usize = 10_000;
/// Causes that are listed; each hub's report has all of its own.
const CAUSES: usize = 5;
/// Why service addresses may fail.
const USUAL: &str = "only the other cluster itself translates its service addresses";

/// A check between two clusters.
pub(crate) struct Two {
    sides: [Side; 2],
    names: [String; 2],
    config: Config,
    selection: Selection,
    expect: Option<Expect>,
    files: Files,
    deadline: Option<Duration>,
    /// What failed last time; none: all is probed.
    again: Option<Vec<PathRecord>>,
}

/// What cells are counted into, while they come from both sides.
struct Counting {
    gather: Gather<'static>,
    legs: Legs,
    held: Vec<(Way, v1::MatrixCell)>,
    refused: BTreeMap<(Way, To), BTreeSet<IpAddr>>,
}

impl Two {
    /// None where the command is about one cluster.
    ///
    /// # Errors
    /// Only one of two is named, or it is asked for what there is not with two.
    pub(crate) fn of(command: &Command) -> anyhow::Result<Option<Self>> {
        match command {
            Command::Check(args) => match args.clusters.sides()? {
                Some(sides) => Self::check(args, sides).map(Some),
                None => Ok(None),
            },
            Command::Resume(args) => Self::resume(args),
            _ => Ok(None),
        }
    }

    fn check(args: &CheckArgs, sides: [Side; 2]) -> anyhow::Result<Self> {
        let config = Config::read(args.config.as_deref())?;
        let names = names(&sides)?;
        let selection = Selection {
            rounds: args.rounds.or(config.check.rounds).unwrap_or(1),
            now: args.now,
            clusters: saved(&sides, &names),
            ..check::selection(&args.select, &config)
        };
        anyhow::ensure!(
            selection.targets.is_empty(),
            "between two clusters targets can't be selected: leave --target out, --source, --kind and --vantage select"
        );
        let deadline = args.deadline.or(config.deadline());
        let files = args.files.files();
        Ok(Self { sides, names, config, selection, expect: args.expect, files, deadline, again: None })
    }

    fn resume(args: &ResumeArgs) -> anyhow::Result<Option<Self>> {
        let before = check::last(args)?;
        let Ok([src, dst]) = <[Cluster; 2]>::try_from(before.selection.clusters.clone()) else {
            return Ok(None);
        };
        let side = |of: &Cluster| -> anyhow::Result<Side> {
            let hub = of.hub.as_deref().map(connect::endpoint).transpose()?;
            Ok(Side { context: of.context.clone(), kubeconfig: of.kubeconfig.clone(), hub })
        };
        let sides = [side(&src)?, side(&dst)?];
        let config = Config::read(args.config.as_deref())?;
        let selection = Selection {
            rounds: before.selection.rounds.max(1),
            resumed: Some(fitting(&before.failed) as u64),
            clusters: before.selection.clusters,
            ..Selection::default()
        };
        Ok(Some(Self {
            sides,
            names: [src.name, dst.name],
            selection,
            expect: args.expect,
            files: args.files.files(),
            deadline: args.deadline.or(config.deadline()),
            config,
            again: Some(before.failed),
        }))
    }

    fn names(&self) -> Names<'_> {
        Names { src: &self.names[0], dst: &self.names[1] }
    }

    /// Checks.
    pub(crate) async fn run(mut self, global: &Global, screen: &Screen) -> anyhow::Result<Checked> {
        let output = global.output;
        anyhow::ensure!(
            output != Output::Csv,
            "-o csv is not for two clusters: -o json has each failed path"
        );
        let hubs = self.connect(global).await?;
        let again = self.again.take();
        let rest = again.as_ref().map_or(Vec::new(), |again| again[fitting(again)..].to_vec());
        let file: Expect = self.config.expect.parse().context("the configuration's expect")?;
        let expect = self.expect.unwrap_or_default().or(file);
        let exceptions = Exceptions::new(self.config.exceptions.clone(), SystemTime::now())?;
        let mut gather = Gather::new(self.selection.clone(), expect, exceptions);
        if output == Output::Wide {
            gather = gather.with_others();
        }
        let counting = RefCell::new(Counting {
            gather,
            legs: Legs::default(),
            held: Vec::new(),
            refused: BTreeMap::new(),
        });
        let leased = self.lease(&hubs).await?;
        let checked = tokio::select! {
            checked = self.both(&hubs, again.as_deref(), &counting) => checked,
            lost = leased.renewed() => Err(lost),
        };
        let left_out = leased.end().await;
        let results = checked?;
        let counting = counting.into_inner();
        let mut gathered = self.conclude(counting, results)?;
        gathered.document.caveats.extend(left_out);
        check::finish(gathered, rest, &self.files, (output, screen))
    }

    async fn connect(&self, global: &Global) -> anyhow::Result<[Hub; 2]> {
        let [src, dst] = &self.sides;
        let (src, dst) = tokio::join!(Hub::of_side(global, src), Hub::of_side(global, dst));
        let of = |hub: anyhow::Result<Hub>, name: &str| hub.with_context(|| format!("cluster {name}"));
        Ok([of(src, &self.names[0])?, of(dst, &self.names[1])?])
    }

    /// Announces to each hub what the other cluster has: of the first its nodes and pods, of the second all that it has.
    async fn lease<'a>(&'a self, hubs: &'a [Hub; 2]) -> anyhow::Result<Leased<'a>> {
        let hosts = [v1::TargetKind::Node, v1::TargetKind::Pod];
        let [src, dst] = hubs;
        let (of_src, of_dst) = tokio::join!(lease::own(src, &hosts), lease::own(dst, &[]));
        let whose = |name: &str| format!("cluster {name}");
        let of_src = of_src.with_context(|| whose(&self.names[0]))?;
        let of_dst = of_dst.with_context(|| whose(&self.names[1]))?;
        for (own, name) in [(&of_src, &self.names[0]), (&of_dst, &self.names[1])] {
            anyhow::ensure!(
                !own.targets.is_empty(),
                "cluster {name} has nothing that could be probed: {}",
                own.left_out.first().map_or("its hub knows no nodes", String::as_str)
            );
        }
        Leased::begin([(src, &self.names[1], of_dst), (dst, &self.names[0], of_src)], &self.names).await
    }

    fn request(&self, way: Way, again: Option<&[PathRecord]>) -> anyhow::Result<v1::RunCheckRequest> {
        let (from, to) = self.names().of(way);
        let mut paths = Vec::new();
        let suffix = format!("{OF}{from}");
        let again_now = again.map(|again| &again[..fitting(again)]);
        for record in again_now.into_iter().flatten() {
            if let Some(source) = record.source.strip_suffix(&suffix) {
                paths.push(v1::Path { source_node: source.to_owned(), ..record.path()? });
            }
        }
        let selector = match again {
            None => Some(v1::PathSelector {
                targets: vec![format!("peer/{to}")],
                ..check::selector(&self.selection)?
            }),
            Some(_) => None,
        };
        Ok(v1::RunCheckRequest {
            selector,
            rounds: self.selection.rounds,
            deadline: self.deadline.map(convert::duration),
            take_turns: !self.selection.now,
            stream_cells: true,
            all_cells: true,
            paths,
        })
    }

    /// Both rounds at once.
    async fn both(
        &self,
        hubs: &[Hub; 2],
        again: Option<&[PathRecord]>,
        counting: &RefCell<Counting>,
    ) -> anyhow::Result<[v1::CheckResult; 2]> {
        let one = async |way: Way, hub: &Hub| -> anyhow::Result<v1::CheckResult> {
            let (from, _) = self.names().of(way);
            let request = self.request(way, again)?;
            // Without paths it would be all of them.
            if again.is_some() && request.paths.is_empty() {
                return Ok(v1::CheckResult::default());
            }
            let take = |cell: &v1::MatrixCell| counting.borrow_mut().take(way, cell, from);
            let result = check::ask::run_as(hub.channel.clone(), request, Some(from), take).await;
            result.with_context(|| format!("cluster {from}"))
        };
        let [src, dst] = hubs;
        let (there, back) = tokio::try_join!(one(Way::There, src), one(Way::Back, dst))?;
        Ok([there, back])
    }

    fn conclude(&self, counting: Counting, results: [v1::CheckResult; 2]) -> anyhow::Result<Gathered> {
        let Counting { mut gather, legs, held, refused } = counting;
        let names = self.names();
        for way in Way::BOTH {
            let networks = |(&(_, to), addresses): (&(Way, To), &BTreeSet<IpAddr>)| {
                format!("{} ({})", conclude::covering(addresses.iter().copied()).join(", "), to.name())
            };
            let own: Vec<String> = refused.iter().filter(|((of, _), _)| *of == way).map(networks).collect();
            let (from, to) = names.of(way);
            anyhow::ensure!(
                own.is_empty() || legs.measured(way) > 0,
                "agents of {from} may not probe addresses of {to}: in {from} let agent.allowCidrs in the chart's values (the \
                 agents' --allow-cidr) hold {}",
                own.join(", ")
            );
        }
        for (way, cell) in &held {
            let usual = legs.cluster_ips_are_its_own(*way).then_some(USUAL);
            gather.take_despite(cell, usual)?;
        }
        let result = merge::merge(results, &self.names, |target| {
            let usual = |way: Way| legs.cluster_ips_are_its_own(way) && target.peer == names.of(way).1;
            To::of(target) == To::ClusterIps && Way::BOTH.into_iter().any(usual)
        });
        let mut gathered = gather.end(&result);
        let lines = conclude::conclude(&legs, names);
        let document = &mut gathered.document;
        if let Some(more) = document.causes.len().checked_sub(CAUSES + 1) {
            document.causes.truncate(CAUSES);
            document.notes.push(format!("{} more causes are in the reports of the two hubs", more + 1));
        }
        let problem = |line: &conclude::Line| Problem {
            name: BETWEEN.to_owned(),
            message: line.text.clone(),
            details: Vec::new(),
        };
        let problems: Vec<Problem> = lines.iter().filter(|line| line.fails).map(problem).collect();
        document.problems.splice(0..0, problems);
        let mut lines = lines.into_iter().map(|line| line.text);
        document.headline = lines.next().unwrap_or_default();
        document.between = lines.collect();
        for ((way, to), addresses) in refused {
            let (from, peer) = names.of(way);
            document.caveats.push(format!(
                "agents of {from} may not probe {} of {peer}: their --allow-cidr does not hold {}",
                to.name(),
                conclude::covering(addresses.into_iter()).join(", ")
            ));
        }
        Ok(gathered)
    }
}

impl Counting {
    fn take(&mut self, way: Way, cell: &v1::MatrixCell, from: &str) -> std::io::Result<()> {
        let mut cell = cell.clone();
        let path = cell.path.get_or_insert_default();
        path.source_node = format!("{}{OF}{from}", path.source_node);
        let to = path.target.as_ref().map_or(To::Nodes, To::of);
        if cell.refused.contains("--allow-cidr")
            && let Some(address) = cell.path.as_ref().and_then(|path| path.address.parse().ok())
        {
            let addresses = self.refused.entry((way, to)).or_default();
            if addresses.len() < REFUSED {
                addresses.insert(address);
            }
        }
        self.legs.add(way, &cell);
        let failed = cell.verdict() == v1::Verdict::Unreachable;
        if failed && to == To::ClusterIps && self.held.len() < HELD {
            self.held.push((way, cell));
            return Ok(());
        }
        self.gather.take(&cell)
    }
}

/// What the clusters are called: by context or hub, with letters that ids may have.
fn names(sides: &[Side; 2]) -> anyhow::Result<[String; 2]> {
    let name = |side: &Side| {
        let url = side.hub.as_ref().map(|hub| hub.text().to_owned());
        let text = side.context.clone().or(url).unwrap_or_default();
        let text = text.rsplit("://").next().unwrap_or_default();
        let name: String = text
            .chars()
            .map(
                |char| {
                    if char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_') { char } else { '-' }
                },
            )
            .collect();
        name[name.len().saturating_sub(90)..].to_owned()
    };
    let [src, dst] = sides.each_ref().map(name);
    let or = |name: String, other: &str| if name.is_empty() { other.to_owned() } else { name };
    let (src, dst) = (or(src, "src"), or(dst, "dst"));
    if src != dst {
        return Ok([src, dst]);
    }
    let same = sides[0].kubeconfig == sides[1].kubeconfig
        && sides[0].hub.as_ref().map(connect::HubUrl::text)
            == sides[1].hub.as_ref().map(connect::HubUrl::text);
    anyhow::ensure!(
        !same,
        "both clusters are {src}: a check of one cluster needs neither --src-context nor --dst-context"
    );
    Ok([format!("src-{src}"), format!("dst-{dst}")])
}

fn saved(sides: &[Side; 2], names: &[String; 2]) -> Vec<Cluster> {
    let one = |(side, name): (&Side, &String)| Cluster {
        name: name.clone(),
        context: side.context.clone(),
        kubeconfig: side.kubeconfig.clone(),
        hub: side.hub.as_ref().map(|hub| hub.text().to_owned()),
    };
    sides.iter().zip(names).map(one).collect()
}

#[cfg(test)]
mod tests;
