//! Whether an object says what the API server would let it say. What does not hold together costs as little as can be: a
//! port, an address, and the whole object only where nothing of it is left to use. Here that is found and reported, so
//! that no mistake hides anything without a word; the roster then takes what it is given.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{LoadBalancerStatus, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netcheck_proto::text;

use crate::cluster::roster::gateway::{GatewayObject, HttpRouteObject};

/// Parts of one object that are shown each by itself.
const SHOWN: usize = 3;

/// What of an object does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// It has no name.
    #[error("it has no name")]
    Nameless,
    /// A name that is none.
    #[error("{field} is not a name: {text:?}")]
    Name {
        /// Where it stands in the object.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// An address that is none.
    #[error("{field} is not an address: {text:?}")]
    Address {
        /// Where it stands in the object.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// An address that no other node could reach: whoever probed it would meet itself, its own link, or nobody.
    #[error("{field} is {why}: {address}")]
    Unreachable {
        /// Where it stands in the object.
        field: &'static str,
        /// What kind of address it is.
        why: &'static str,
        /// The address.
        address: IpAddr,
    },
    /// A port that is none.
    #[error("{field} is not a port: {number}")]
    Port {
        /// Where it stands in the object.
        field: &'static str,
        /// What stands there.
        number: i32,
    },
    /// Nothing of a list could be kept that the object is of no use without.
    #[error("{parts}")]
    NothingLeft {
        /// What was wrong with its items, in one line.
        parts: String,
    },
}

/// What of an object was left out.
#[derive(Debug, Default)]
pub struct Parts {
    /// The first of them, each once.
    shown: Vec<Unsound>,
    count: usize,
}

impl Parts {
    fn add(&mut self, why: Unsound) {
        self.count += 1;
        if self.shown.len() < SHOWN && !self.shown.contains(&why) {
            self.shown.push(why);
        }
    }

    /// Takes what holds together of a list.
    fn keep<T>(&mut self, list: &mut Vec<T>, mut sound: impl FnMut(&mut T) -> Result<(), Unsound>) {
        list.retain_mut(|item| sound(item).map_err(|why| self.add(why)).is_ok());
    }

    /// The same of a list that may not be there.
    fn keep_some<T>(&mut self, list: &mut Option<Vec<T>>, sound: impl FnMut(&mut T) -> Result<(), Unsound>) {
        if let Some(list) = list {
            self.keep(list, sound);
        }
    }

    /// Takes a text away that does not hold together.
    fn keep_text(
        &mut self,
        text: &mut Option<String>,
        sound: impl FnOnce(&mut String) -> Result<(), Unsound>,
    ) {
        if let Some(Err(why)) = text.as_mut().map(sound) {
            self.add(why);
            *text = None;
        }
    }

    /// All of them in one line; nothing where nothing was left out.
    pub(super) fn line(self) -> Option<String> {
        let more = self.count.saturating_sub(self.shown.len());
        let shown: Vec<String> = self.shown.iter().map(ToString::to_string).collect();
        let mut line = shown.join("; ");
        if more > 0 {
            line += &format!(" and {more} more");
        }
        (self.count > 0).then_some(line)
    }
}

/// An object that can be checked.
pub trait Sound {
    /// Its name and the like.
    fn meta(&self) -> &ObjectMeta;

    /// Takes away what does not hold together, beyond name and namespace.
    ///
    /// # Errors
    /// Nothing is left that could be used, and why.
    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound>;

    /// Takes away what does not hold together.
    ///
    /// # Errors
    /// The object is of no use, and why.
    fn sound(&mut self) -> Result<Parts, Unsound> {
        let meta = self.meta();
        let name = meta.name.as_deref().filter(|name| !name.is_empty()).ok_or(Unsound::Nameless)?;
        named("metadata.name", Some(name))?;
        named("metadata.namespace", meta.namespace.as_deref())?;
        let mut parts = Parts::default();
        self.mend(&mut parts)?;
        Ok(parts)
    }
}

fn named(field: &'static str, name: Option<&str>) -> Result<(), Unsound> {
    match name {
        Some(name) if !name.is_empty() && !text::is_name(name) => {
            Err(Unsound::Name { field, text: name.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Makes an address of a text what all others write for it.
fn address(field: &'static str, text: &mut String) -> Result<(), Unsound> {
    let read = text.parse::<IpAddr>().ok().or_else(|| with_zeros(text).map(IpAddr::V4));
    let read = read.ok_or_else(|| Unsound::Address { field, text: text.clone() })?;
    let address = read.to_canonical();
    *text = address.to_string();
    unreachable(address).map_or(Ok(()), |why| Err(Unsound::Unreachable { field, why, address }))
}

/// Why no other node could reach an address. Agents refuse to probe these, whoever asks.
fn unreachable(address: IpAddr) -> Option<&'static str> {
    let (link_local, broadcast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), false),
    };
    let unspecified = address.is_unspecified() || matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0);
    let kinds = [
        (unspecified, "an unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (link_local, "a link-local address"),
        (address.is_multicast(), "a multicast address"),
        (broadcast, "the broadcast address"),
    ];
    kinds.into_iter().find_map(|(is, why)| is.then_some(why))
}

/// `10.96.009.012`: objects of old clusters have such, and the API server takes them for decimal.
fn with_zeros(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

fn port(field: &'static str, number: i32) -> Result<(), Unsound> {
    match u16::try_from(number) {
        Ok(1..) => Ok(()),
        _ => Err(Unsound::Port { field, number }),
    }
}

/// An error where there were addresses and none of them is one.
fn some_left(had: bool, left: bool, parts: &mut Parts) -> Result<(), Unsound> {
    if had && !left {
        return Err(Unsound::NothingLeft { parts: std::mem::take(parts).line().unwrap_or_default() });
    }
    Ok(())
}

impl Sound for Node {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound> {
        let addresses = self.status.as_mut().map(|status| &mut status.addresses);
        let Some(addresses) = addresses else { return Ok(()) };
        // A node without addresses is still there: that nobody can probe it is reported.
        parts.keep_some(addresses, |at| match at.type_.as_str() {
            "InternalIP" => address("status.addresses, InternalIP", &mut at.address),
            _ => Ok(()),
        });
        Ok(())
    }
}

impl Sound for Pod {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound> {
        named("spec.nodeName", self.spec.as_ref().and_then(|spec| spec.node_name.as_deref()))?;
        let Some(status) = &mut self.status else { return Ok(()) };
        let is_empty = |ip: &Option<String>| ip.as_deref().unwrap_or_default().is_empty();
        let had = status.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty()) || !is_empty(&status.pod_ip);
        parts.keep_some(&mut status.pod_ips, |ip| address("status.podIPs", &mut ip.ip));
        if !is_empty(&status.pod_ip) {
            parts.keep_text(&mut status.pod_ip, |ip| address("status.podIP", ip));
        }
        let left = status.pod_ips.as_ref().is_some_and(|ips| !ips.is_empty()) || !is_empty(&status.pod_ip);
        some_left(had, left, parts)
    }
}

impl Sound for Service {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound> {
        if let Some(status) = self.status.as_mut().and_then(|status| status.load_balancer.as_mut()) {
            balancer(status, parts);
        }
        let Some(spec) = &mut self.spec else { return Ok(()) };
        parts.keep_some(&mut spec.external_ips, |ip| address("spec.externalIPs", ip));
        let had = spec.ports.as_ref().is_some_and(|ports| !ports.is_empty());
        parts.keep_some(&mut spec.ports, |of| {
            // 0: none yet, as some tools write it.
            of.node_port.filter(|&number| number != 0).map_or(Ok(()), |number| port("nodePort", number))?;
            port("spec.ports", of.port)
        });
        some_left(had, spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()), parts)?;
        // Headless services say so in place of an address; ExternalName services say nothing.
        let cluster = |ip: &mut String| match ip.as_str() {
            "" | "None" => Ok(()),
            _ => address("spec.clusterIPs", ip),
        };
        let any = |spec: &k8s_openapi::api::core::v1::ServiceSpec| {
            spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty()) || spec.cluster_ip.is_some()
        };
        let had = any(spec);
        parts.keep_some(&mut spec.cluster_ips, cluster);
        parts.keep_text(&mut spec.cluster_ip, cluster);
        some_left(had, any(spec), parts)
    }
}

fn balancer(status: &mut LoadBalancerStatus, parts: &mut Parts) {
    parts.keep_some(&mut status.ingress, |at| balancer_ip(&mut at.ip));
}

fn balancer_ip(ip: &mut Option<String>) -> Result<(), Unsound> {
    let ip = ip.as_mut().filter(|ip| !ip.is_empty());
    ip.map_or(Ok(()), |ip| address("status.loadBalancer.ingress", ip))
}

impl Sound for EndpointSlice {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound> {
        parts.keep_some(&mut self.ports, |of| of.port.map_or(Ok(()), |number| port("ports", number)));
        let names = self.address_type == "FQDN";
        for endpoint in self.endpoints.iter_mut().filter(|_| !names) {
            parts.keep(&mut endpoint.addresses, |text| address("endpoints.addresses", text));
        }
        parts
            .keep(&mut self.endpoints, |endpoint| named("endpoints.nodeName", endpoint.node_name.as_deref()));
        Ok(())
    }
}

impl Sound for Ingress {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound> {
        if let Some(spec) = &mut self.spec {
            parts.keep_some(&mut spec.rules, |rule| {
                let host = rule.host.as_deref().map(|host| host.trim_start_matches("*."));
                named("spec.rules.host", host)
            });
        }
        let status = self.status.as_mut().and_then(|status| status.load_balancer.as_mut());
        if let Some(status) = status {
            parts.keep_some(&mut status.ingress, |at| balancer_ip(&mut at.ip));
        }
        Ok(())
    }
}

impl Sound for GatewayObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, parts: &mut Parts) -> Result<(), Unsound> {
        parts.keep(&mut self.spec.listeners, |listener| port("spec.listeners.port", listener.port));
        Ok(())
    }
}

impl Sound for HttpRouteObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, _parts: &mut Parts) -> Result<(), Unsound> {
        Ok(())
    }
}

impl Sound for Namespace {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn mend(&mut self, _parts: &mut Parts) -> Result<(), Unsound> {
        Ok(())
    }
}
