//! `explain`: all that is known of one incident, or of what is wrong between two.

use std::time::Duration;

use netcheck_proto::v1;

use crate::answer;
use crate::conclusion::Conclusion;
use crate::connect::Hub;
use crate::style::Paint;
use crate::{incidents, path};

/// How long agents may take to find which rule did it, where they look when they are asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether they did.
const AGAIN: Duration = Duration::from_secs(1);

async fn list(hub: &Hub) -> anyhow::Result<Vec<v1::Incident>> {
    let request = v1::ListIncidentsRequest { include_closed: true, explain: true, ..Default::default() };
    Ok(answer(hub.reachability().list_incidents(request)).await?.incidents)
}

/// Waits until agents said what did it, where there is something to say.
async fn explained(hub: &Hub, wanted: impl Fn(&v1::Incident) -> bool) -> anyhow::Result<Vec<v1::Incident>> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found: Vec<v1::Incident> = list(hub).await?.into_iter().filter(|one| wanted(one)).collect();
        let waits = |one: &v1::Incident| {
            one.state() == v1::IncidentState::Open
                && one.culprits.is_empty()
                && one.certainty() == v1::Certainty::Observed
        };
        if !found.iter().any(waits) || tokio::time::Instant::now() >= until {
            return Ok(found);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One incident, by its id or the beginning of it.
///
/// # Errors
/// If there is none, or several.
pub(crate) async fn incident(hub: &Hub, id: &str) -> anyhow::Result<(v1::ListIncidentsResponse, Conclusion)> {
    let known = list(hub).await?;
    let exact = |one: &v1::Incident| one.id == id;
    let begins: Vec<&v1::Incident> = known
        .iter()
        .filter(|one| exact(one) || (!known.iter().any(exact) && one.id.starts_with(id)))
        .collect();
    let id = match begins.as_slice() {
        [one] => one.id.clone(),
        [] if known.is_empty() => {
            anyhow::bail!("no incident is known; to explain paths, say SOURCE and TARGET")
        }
        [] => {
            let ids: Vec<&str> = known.iter().map(|one| one.id.as_str()).collect();
            anyhow::bail!("no incident {id}; there are {}", ids.join(", "))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
            anyhow::bail!("{id} is the beginning of several incidents: {}", ids.join(", "))
        }
    };
    let incidents = explained(hub, |one| one.id == id).await?;
    let conclusion = Conclusion::of_incidents(&incidents);
    Ok((v1::ListIncidentsResponse { incidents, ..Default::default() }, conclusion))
}

/// What is wrong between two: the paths, and the incidents that explain them.
pub(crate) async fn between(
    hub: &Hub,
    source: &str,
    target: &str,
    paint: Paint,
) -> anyhow::Result<(v1::GetPathResponse, String, Conclusion)> {
    let (source, target) = (source.to_owned(), target.to_owned());
    let request = v1::GetPathRequest { source, target, ..Default::default() };
    let paths = answer(hub.reachability().get_path(request)).await?;
    let cells: Vec<&v1::Path> =
        paths.paths.iter().filter_map(|detail| detail.cell.as_ref()?.path.as_ref()).collect();
    let open = |one: &v1::Incident| {
        one.state() == v1::IncidentState::Open && one.paths.iter().any(|path| cells.contains(&path))
    };
    let incidents = explained(hub, open).await?;
    let mut text: String = incidents.iter().map(|one| incidents::one(one, paint)).collect();
    if !text.is_empty() {
        text += "\n";
    }
    text += &path::render(&paths, paint);
    let conclusion = Conclusion::of(paths.conclusion(), paths.paths.len() as u64);
    Ok((paths, text.trim_start_matches('\n').to_owned(), conclusion))
}
