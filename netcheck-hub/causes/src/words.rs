//! A cause in words: a key that stays the same from evaluation to evaluation, one line for people, and its arithmetic.

use crate::cause::{Carrier, Cause, Component, Extent, Heading, Pattern};
use crate::topology::{Endpoint, Topology};

impl Cause {
    /// What the cause is, by the names of the topology: the same as long as the same thing is broken for the same
    /// packets. `tunnel-end/n2 in udp`. Numbers of the topology are not in it, nor how many it loses.
    #[must_use]
    pub fn key(&self, topology: &Topology) -> String {
        let mut key = format!("{}/{}", kind(self.component), self.names(topology).join("/"));
        match self.heading {
            Heading::In => key.push_str(" in"),
            Heading::Out => key.push_str(" out"),
            Heading::Both => {}
        }
        for word in pattern_words(&self.pattern) {
            key.push(' ');
            key.push_str(&word);
        }
        key
    }

    /// One line for people, the cause first.
    #[must_use]
    pub fn headline(&self, topology: &Topology) -> String {
        let packets = packets(&self.pattern);
        let lost = if self.pattern.partial || self.pattern.by_port { "are lost in part" } else { "are lost" };
        let by_port =
            if self.pattern.by_port { ", by source port: one of several paths is broken" } else { "" };
        let what = self.what(topology, &packets, lost);
        format!("{what}{by_port}")
    }

    /// Why it is this cause, in figures.
    #[must_use]
    pub fn arithmetic(&self, topology: &Topology) -> Vec<String> {
        let mut lines = vec![format!(
            "explains {} lost probes of {} that crossed it, in {} paths",
            self.lost,
            self.crossed,
            self.explains.len()
        )];
        lines.push(match self.contradictions.len() {
            0 if self.pattern.partial || self.pattern.by_port => {
                "some of its packets pass: the shares of losses are alike in all paths".to_owned()
            }
            0 => "no path that crosses it with such packets was answered".to_owned(),
            count => format!("{count} paths that cross it with such packets were answered"),
        });
        lines.push(match (self.avoiding_answered, self.avoiding_lost) {
            (0, 0) => "all paths of such packets cross it".to_owned(),
            (answered, 0) => format!("{answered} paths of such packets avoid it, and all are answered"),
            (answered, lost) => {
                format!(
                    "{} paths of such packets avoid it: {answered} are answered, {lost} lose some",
                    answered + lost
                )
            }
        });
        for place in &self.places {
            let node = topology.nodes.get(place.node as usize).map_or("?", |node| &node.name);
            lines.push(format!("kernel of {node}: {} in {}", place.reason, place.function));
        }
        if !self.alternatives.is_empty() {
            let others = self.alternatives.iter().map(|&(component, heading)| {
                let other = Self { component, heading, alternatives: Vec::new(), ..self.clone() };
                other.key(topology)
            });
            lines.push(format!("explained as well by: {}", others.collect::<Vec<_>>().join(" or ")));
        }
        lines
    }

    fn names(&self, topology: &Topology) -> Vec<String> {
        match self.component {
            Component::Server { endpoint, service } => {
                let mut names = vec![endpoint_name(topology, endpoint)];
                names.extend(service.map(|service| service_name(topology, service)));
                names
            }
            Component::Service(service) => vec![service_name(topology, service)],
            Component::Stack(extent)
            | Component::PodLink(extent)
            | Component::Hairpin(extent)
            | Component::Forwarding(extent)
            | Component::TunnelEnd(extent)
            | Component::Uplink(extent) => vec![extent_name(topology, extent)],
            Component::Translation { by, service, backend } => {
                let mut names = vec![extent_name(topology, by), service_name(topology, service)];
                names.extend(backend.map(|backend| endpoint_name(topology, backend)));
                names
            }
            Component::Tunnel { from, to } | Component::Wire { from, to } => {
                let mut ends = [extent_name(topology, from), extent_name(topology, to)];
                if self.heading == Heading::Both {
                    // Which end is first is a matter of numbers, and numbers change.
                    ends.sort();
                }
                ends.into()
            }
            Component::Node(node) => vec![extent_name(topology, Extent::Node(node))],
            Component::Cluster => vec!["all".to_owned()],
            Component::SecondaryNetwork(network) => {
                let name = topology.secondary_networks.get(network as usize);
                vec![name.map_or_else(|| "?".to_owned(), ToString::to_string)]
            }
        }
    }

    fn what(&self, topology: &Topology, packets: &str, lost: &str) -> String {
        let names = self.names(topology);
        let at = names.first().map_or("?", String::as_str);
        let way = match self.heading {
            Heading::In => " to",
            Heading::Out => " from",
            Heading::Both => " to and from",
        };
        match self.component {
            Component::Server { service: Some(_), .. } => {
                format!("{at} does not answer for service {}: {packets} {lost}", names[1])
            }
            Component::Server { service: None, .. } => format!("{at} does not answer: {packets} {lost}"),
            Component::Service(_) => format!("service {at}: nobody answers as expected"),
            Component::Stack(_) => format!("{packets}{way} the network stack of {at} {lost}"),
            Component::PodLink(Extent::Pod(_)) => format!("{packets}{way} {at} {lost} on the pod's link"),
            Component::PodLink(_) => format!("{packets}{way} pods {lost} on the bridge of {at}"),
            Component::Hairpin(_) => {
                format!("pods that reach themselves through a service: {at} has no hairpin mode")
            }
            Component::Forwarding(_) => format!("{packets}{way} pods {lost} where they are forwarded: {at}"),
            Component::Translation { backend: Some(_), .. } => {
                format!("service {}: {at} translates to {} wrongly", names[1], names[2])
            }
            Component::Translation { .. } => format!("service {}: not translated by {at}", names[1]),
            Component::TunnelEnd(_) => format!("encapsulated {packets}{way} {at} {lost}; bare ones pass"),
            Component::Tunnel { .. } => {
                format!("encapsulated {packets} {} {lost}; bare ones pass", self.between(&names))
            }
            Component::Uplink(_) => format!("{packets}{way} other nodes {lost} at the uplink of {at}"),
            Component::Wire { .. } => format!("{packets} {} {lost} on the network", self.between(&names)),
            Component::Node(_) => format!("{at} is down or cut off: {packets}{way} it {lost}"),
            Component::Cluster => format!("{packets} {lost} everywhere"),
            Component::SecondaryNetwork(_) => format!("{packets} {lost} on the secondary network {at}"),
        }
    }

    fn between(&self, names: &[String]) -> String {
        if self.heading == Heading::Both {
            format!("between {} and {}", names[0], names[1])
        } else {
            format!("from {} to {}", names[0], names[1])
        }
    }
}

const fn kind(component: Component) -> &'static str {
    match component {
        Component::Server { .. } => "server",
        Component::Service(_) => "service",
        Component::Stack(_) => "stack",
        Component::PodLink(_) => "pod-link",
        Component::Hairpin(_) => "hairpin",
        Component::Forwarding(_) => "forwarding",
        Component::Translation { .. } => "translation",
        Component::TunnelEnd(_) => "tunnel-end",
        Component::Tunnel { .. } => "tunnel",
        Component::Uplink(_) => "uplink",
        Component::Wire { .. } => "wire",
        Component::Node(_) => "node",
        Component::Cluster => "cluster",
        Component::SecondaryNetwork(_) => "secondary-network",
    }
}

const fn carrier_word(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Icmp => "icmp",
        Carrier::Udp => "udp",
        Carrier::Tcp => "tcp",
    }
}

fn pattern_words(pattern: &Pattern) -> Vec<String> {
    let mut words = Vec::new();
    match (pattern.kind, pattern.carrier) {
        (Some(kind), _) => words.push(format!("kind={kind:?}").to_lowercase()),
        (None, Some(carrier)) => words.push(carrier_word(carrier).to_owned()),
        (None, None) => {}
    }
    words.extend(pattern.family.map(|family| format!("{family:?}").to_lowercase()));
    let flags = [
        (pattern.full_size, "large"),
        (pattern.fresh == Some(true), "new-flows"),
        (pattern.fresh == Some(false), "old-flows"),
        (pattern.by_port, "by-port"),
        (pattern.partial, "partial"),
    ];
    words.extend(flags.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned()));
    words
}

fn packets(pattern: &Pattern) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(pattern.full_size.then(|| "large".to_owned()));
    words.extend(pattern.family.map(|family| format!("IP{family:?}").to_lowercase().replace("ip", "IP")));
    match (pattern.kind, pattern.carrier) {
        (Some(kind), _) => words.push(format!("{kind:?}").to_uppercase()),
        (None, Some(carrier)) => words.push(carrier_word(carrier).to_uppercase()),
        (None, None) => {}
    }
    words.push("packets".to_owned());
    words
        .extend(pattern.fresh.map(|fresh| format!("of {} flows", if fresh { "new" } else { "established" })));
    words.join(" ")
}

fn extent_name(topology: &Topology, extent: Extent) -> String {
    match extent {
        Extent::Pod(pod) => endpoint_name(topology, Endpoint::Pod(pod)),
        Extent::PodsOf(node) => format!("pods of {}", endpoint_name(topology, Endpoint::Node(node))),
        Extent::Node(node) => endpoint_name(topology, Endpoint::Node(node)),
        Extent::Zone(zone) => {
            format!("zone {}", topology.zones.get(zone as usize).map_or("?", |name| name))
        }
        Extent::All => "all nodes".to_owned(),
    }
}

fn endpoint_name(topology: &Topology, endpoint: Endpoint) -> String {
    let name = match endpoint {
        Endpoint::Node(node) => topology.nodes.get(node as usize).map(|node| &node.name),
        Endpoint::Pod(pod) => topology.pods.get(pod as usize).map(|pod| &pod.name),
        Endpoint::Outside => return "outside".to_owned(),
    };
    name.map_or_else(|| "?".to_owned(), ToString::to_string)
}

fn service_name(topology: &Topology, service: u32) -> String {
    topology.services.get(service as usize).map_or_else(|| "?".to_owned(), |service| service.name.to_string())
}
