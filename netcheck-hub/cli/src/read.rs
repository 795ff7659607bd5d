//! What the hub knows, by command: one question, and its answer as text or JSON.

use netcheck_proto::json::Named;
use netcheck_proto::v1;

use crate::args::{AtArg, Cli, Command, Output, RangeArg, Select};
use crate::conclusion::Conclusion;
use crate::connect::Hub;
use crate::style::{Paint, Screen};
use crate::{
    answer, brief, events, explain, history, incidents, matrix, nodes, path, pretty, report, scheduled, style,
};

/// Asks, and renders what the hub says: text, and what it comes to.
pub(crate) async fn read(hub: &Hub, cli: &Cli, screen: &Screen) -> anyhow::Result<(String, Conclusion)> {
    let reading = Reading { hub, screen, paint: Paint::on(screen), json: cli.global.output == Output::Json };
    match &cli.command {
        Command::Nodes => reading.nodes().await,
        Command::Matrix { range, at, select } => reading.matrix(range, at, select).await,
        Command::Path { source, target, from, range, at } => {
            let request = v1::GetPathRequest {
                source: source.clone(),
                target: target.clone(),
                selector: Some(v1::PathSelector { vantages: from.wire(), ..Default::default() }),
                range: range.wire(),
                at: at.at,
                from: at.span.since,
                to: at.span.until,
            };
            reading.path(request).await
        }
        Command::Report { range, verbose, at } => reading.report(range, *verbose, at).await,
        Command::Incidents { closed, explain, at } => reading.incidents(*closed, *explain, at).await,
        Command::History(history) => {
            let answer = answer(hub.reachability().get_path_history(history.wire())).await?;
            Ok((reading.text(&answer, history::render), Conclusion::Fine))
        }
        Command::Events(events) => {
            let answer = answer(hub.reachability().list_events(events.wire())).await?;
            Ok((reading.text(&answer, events::render), Conclusion::Fine))
        }
        Command::Explain { what, target } => reading.explain(what, target.as_deref()).await,
        Command::Version { .. } => {
            let version = answer(hub.reachability().get_version(v1::GetVersionRequest {})).await?;
            Ok((reading.text(&version, |version, _| versions(version)), Conclusion::Fine))
        }
        Command::Checks { name } => reading.checks(name.clone().unwrap_or_default()).await,
        #[cfg(feature = "kubernetes")]
        Command::Clean(_) => anyhow::bail!("this is answered elsewhere"),
        Command::Check(_)
        | Command::Resume(_)
        | Command::Convert { .. }
        | Command::Watch { .. }
        | Command::Init { .. }
        | Command::Completion { .. }
        | Command::Manual { .. } => anyhow::bail!("this is answered elsewhere"),
    }
}

/// Whom to ask, and how to print what comes.
struct Reading<'a> {
    hub: &'a Hub,
    screen: &'a Screen,
    paint: Paint,
    json: bool,
}

impl Reading<'_> {
    /// An answer as it is printed.
    fn text<M: Named>(&self, answer: &M, render: impl FnOnce(&M, Paint) -> String) -> String {
        if self.json { pretty(answer) } else { render(answer, self.paint) }
    }

    async fn nodes(&self) -> anyhow::Result<(String, Conclusion)> {
        let nodes = answer(self.hub.reachability().list_nodes(v1::ListNodesRequest {})).await?;
        Ok((self.text(&nodes, |nodes, paint| nodes::render(&nodes.nodes, paint)), Conclusion::Fine))
    }

    async fn matrix(
        &self,
        range: &RangeArg,
        at: &AtArg,
        select: &Select,
    ) -> anyhow::Result<(String, Conclusion)> {
        let request = v1::GetMatrixRequest {
            selector: Some(select.wire()),
            range: range.wire(),
            at: at.at,
            from: at.span.since,
            to: at.span.until,
        };
        let matrix = answer(self.hub.reachability().get_matrix(request)).await?;
        let text = self.text(&matrix, |matrix, paint| {
            history::rests_on(matrix.past.as_ref(), true, paint)
                + &matrix::render(matrix, paint, self.screen.columns)
        });
        Ok((text, Conclusion::of(matrix.conclusion(), matrix.cells.len() as u64)))
    }

    async fn path(&self, request: v1::GetPathRequest) -> anyhow::Result<(String, Conclusion)> {
        let answer = answer(self.hub.reachability().get_path(request)).await?;
        let text = self.text(&answer, |answer, paint| {
            history::rests_on(answer.past.as_ref(), true, paint) + &path::render(answer, paint)
        });
        Ok((text, Conclusion::of(answer.conclusion(), answer.paths.len() as u64)))
    }

    async fn report(
        &self,
        range: &RangeArg,
        verbose: bool,
        at: &AtArg,
    ) -> anyhow::Result<(String, Conclusion)> {
        let (from, to) = (at.span.since, at.span.until);
        let request = v1::GetReportRequest { range: range.wire(), at: at.at, from, to };
        let answer = answer(self.hub.reachability().get_report(request)).await?;
        let report = answer.report.clone().unwrap_or_default();
        let text = self.text(&answer, |_, paint| {
            let render = if verbose { report::render } else { brief::render };
            history::rests_on(report.past.as_ref(), false, paint) + &render(&report, paint)
        });
        Ok((text, Conclusion::of(report.conclusion(), report.paths)))
    }

    async fn incidents(
        &self,
        closed: bool,
        explain: bool,
        at: &AtArg,
    ) -> anyhow::Result<(String, Conclusion)> {
        let request = v1::ListIncidentsRequest {
            include_closed: closed,
            explain,
            at: at.at,
            from: at.span.since,
            to: at.span.until,
        };
        let answer = answer(self.hub.reachability().list_incidents(request)).await?;
        let text = self.text(&answer, |answer, paint| {
            history::rests_on(answer.past.as_ref(), true, paint) + &incidents::render(answer, paint)
        });
        Ok((text, Conclusion::of_incidents(&answer.incidents)))
    }

    /// One incident, or what is between a node and a target.
    async fn explain(&self, what: &str, target: Option<&str>) -> anyhow::Result<(String, Conclusion)> {
        let Some(target) = target else {
            let (answer, conclusion) = explain::incident(self.hub, what).await?;
            let text = self.text(&answer, |answer, paint| {
                let shown: String = answer.incidents.iter().map(|one| incidents::one(one, paint)).collect();
                shown.trim_start().to_owned()
            });
            return Ok((text, conclusion));
        };
        let (answer, text, conclusion) = explain::between(self.hub, what, target, self.paint).await?;
        Ok((self.text(&answer, |_, _| text), conclusion))
    }

    /// Scheduled checks: all, or the one of a name.
    async fn checks(&self, name: String) -> anyhow::Result<(String, Conclusion)> {
        let whole = !name.is_empty();
        let request = v1::ListScheduledChecksRequest { name };
        let listed = answer(self.hub.checks().list_scheduled_checks(request)).await?;
        let text = self.text(&listed, |listed, paint| scheduled::render(listed, whole, paint));
        Ok((text, scheduled::conclusion(&listed.checks)))
    }
}

fn versions(response: &v1::GetVersionResponse) -> String {
    let since = style::ago(response.started_at.as_ref());
    let mut text =
        format!("kubectl-netcheck {}\nhub {}, up {since}\n", env!("CARGO_PKG_VERSION"), response.version);
    for of in &response.agents {
        let s = if of.agents == 1 { "agent" } else { "agents" };
        text += &format!("{} {s} {}, {} connected\n", of.agents, of.version, of.connected);
    }
    text
}
