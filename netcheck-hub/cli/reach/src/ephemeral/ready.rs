//! Objects of a run as the API has them → how far its pods are. Pure.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ContainerState, Node, Pod};

use super::EphemeralError;

/// Reasons for which a container waits that don't go by themselves: the image is not to be had.
const NO_IMAGE: [&str; 5] =
    ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"];

/// What is there.
pub(super) struct Seen {
    pub(super) pods: Vec<Pod>,
    pub(super) agents: Vec<DaemonSet>,
    pub(super) hubs: Vec<Deployment>,
    pub(super) nodes: Vec<Node>,
}

/// How far a run's pods are. Those on nodes that are not Ready are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Pods that there should be; none: not known yet.
    pub wanted: Option<usize>,
    /// Of those, pods whose containers run.
    pub running: usize,
    /// Of those, pods that are ready.
    pub ready: usize,
    /// Those that are not ready, and why: a line each.
    pub behind: Vec<String>,
    /// Nodes that are not Ready, whose pods are not waited for.
    pub absent: Vec<String>,
    /// What should make pods and has not made all of them.
    pub(super) unmade: Vec<String>,
    hub: bool,
    agent: bool,
}

impl Standing {
    /// Whether all are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.hub && self.agent && self.wanted.is_some_and(|wanted| self.ready >= wanted)
    }

    /// Whether all run, and the hub and an agent are ready: who is not may be kept from it by what a check is to find.
    #[must_use]
    pub(super) fn runs(&self) -> bool {
        self.hub && self.agent && self.wanted.is_some_and(|wanted| self.running >= wanted)
    }
}

impl fmt::Display for Standing {
    /// As in `7 of 9 pods are ready, without n4, which is not Ready`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wanted {
            Some(wanted) => write!(out, "{} of {wanted} pods are ready", self.ready)?,
            None => out.write_str("no pods yet")?,
        }
        match self.absent.as_slice() {
            [] => Ok(()),
            [node] => write!(out, ", without {node}, which is not Ready"),
            nodes => write!(out, ", without {} nodes that are not Ready", nodes.len()),
        }
    }
}

fn is_ready_node(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True")
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("?")
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn component(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get("app.kubernetes.io/component").map(String::as_str)
}

fn has_condition(pod: &Pod, wanted: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == wanted).any(|condition| condition.status == "True")
}

fn states(pod: &Pod) -> impl Iterator<Item = (&str, &ContainerState)> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.filter_map(|status| Some((status.image.as_str(), status.state.as_ref()?)))
}

fn runs(pod: &Pod) -> bool {
    let mut states = states(pod).peekable();
    states.peek().is_some() && states.all(|(_, state)| state.running.is_some())
}

/// Why a pod is not ready: what a container waits for, else what the pod waits for.
fn why(pod: &Pod) -> String {
    let with = |reason: &str, message: Option<&str>| match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    for (_, state) in states(pod) {
        if let Some(waiting) = &state.waiting {
            return with(waiting.reason.as_deref().unwrap_or("waiting"), waiting.message.as_deref());
        }
        if let Some(ended) = &state.terminated {
            let code = format!("ended with code {}", ended.exit_code);
            return with(&code, ended.message.as_deref().or(ended.reason.as_deref()));
        }
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let not_met = conditions.filter(|condition| condition.status != "True");
    let scheduled = not_met.into_iter().find(|condition| condition.type_ == "PodScheduled");
    match scheduled {
        Some(condition) => {
            with(condition.reason.as_deref().unwrap_or("not scheduled"), condition.message.as_deref())
        }
        None if runs(pod) => "it runs, and is not ready".to_owned(),
        None => "it has not started".to_owned(),
    }
}

impl Seen {
    /// That an image can't be pulled, if there is such a pod on a node that is Ready.
    pub(super) fn image(&self) -> Option<EphemeralError> {
        let absent = self.absent();
        for pod in self.pods.iter().filter(|pod| node(pod).is_none_or(|node| !absent.contains(node))) {
            for (image, state) in states(pod) {
                let Some(waiting) = &state.waiting else { continue };
                let reason = waiting.reason.clone().unwrap_or_default();
                if NO_IMAGE.contains(&reason.as_str()) {
                    let message = waiting.message.clone().unwrap_or_default();
                    return Some(EphemeralError::Image {
                        pod: name(pod).to_owned(),
                        image: image.to_owned(),
                        reason,
                        message,
                    });
                }
            }
        }
        None
    }

    fn absent(&self) -> BTreeSet<&str> {
        let absent = self.nodes.iter().filter(|node| !is_ready_node(node));
        absent.filter_map(|node| node.metadata.name.as_deref()).collect()
    }

    pub(super) fn standing(&self) -> Standing {
        let absent = self.absent();
        let is_absent = |pod: &&Pod| node(pod).is_some_and(|node| absent.contains(node));
        let away: BTreeSet<&str> = self.pods.iter().filter(is_absent).filter_map(node).collect();
        let missing = self.pods.iter().filter(is_absent).count();
        let mut standing = Standing {
            wanted: self.wanted().map(|wanted| wanted.saturating_sub(missing)),
            absent: away.into_iter().map(str::to_owned).collect(),
            unmade: self.unmade(),
            ..Standing::default()
        };
        let there =
            self.pods.iter().filter(|pod| !is_absent(pod) && pod.metadata.deletion_timestamp.is_none());
        for pod in there {
            standing.running += usize::from(runs(pod));
            if has_condition(pod, "Ready") {
                standing.ready += 1;
                standing.hub |= component(pod) == Some("hub");
                standing.agent |= component(pod) == Some("agent");
            } else {
                let on = node(pod).map(|node| format!(" on {node}")).unwrap_or_default();
                standing.behind.push(format!("{}{on}: {}", name(pod), why(pod)));
            }
        }
        standing.behind.sort_unstable();
        standing
    }

    /// Pods that there should be, once all controllers have said so.
    fn wanted(&self) -> Option<usize> {
        let of_agents = self.agents.iter().map(|set| {
            let status = set.status.as_ref()?;
            let seen = status.observed_generation >= set.metadata.generation;
            seen.then(|| usize::try_from(status.desired_number_scheduled).unwrap_or(0))
        });
        let of_hubs = self.hubs.iter().map(|hub| {
            let wanted = hub.spec.as_ref()?.replicas.unwrap_or(1);
            usize::try_from(wanted).ok()
        });
        let wanted = of_agents.chain(of_hubs).sum::<Option<usize>>()?;
        (!self.agents.is_empty() && !self.hubs.is_empty()).then_some(wanted)
    }

    fn unmade(&self) -> Vec<String> {
        let short = self.agents.iter().filter(|set| {
            let status = set.status.as_ref();
            status.is_none_or(|status| status.current_number_scheduled < status.desired_number_scheduled)
        });
        short.filter_map(|set| set.metadata.name.clone()).collect()
    }
}
