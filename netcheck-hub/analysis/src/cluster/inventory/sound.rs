//! Whether an object says what the API server would let it say. The roster leaves out what it can't use;
//! here a mistake of whoever wrote it is found before it hides a node.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netcheck_proto::text;

use crate::cluster::roster::gateway::{GatewayObject, HttpRouteObject};

/// An object that can be checked.
pub trait Sound {
    /// Its name and the like.
    fn meta(&self) -> &ObjectMeta;

    /// What is wrong beyond name and namespace.
    ///
    /// # Errors
    /// Says in one line what it is.
    fn fields(&self) -> Result<(), String>;

    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// Says in one line what it is.
    fn sound(&self) -> Result<(), String> {
        let meta = self.meta();
        let name = meta.name.as_deref().filter(|name| !name.is_empty()).ok_or("it has no name")?;
        named("metadata.name", Some(name))?;
        named("metadata.namespace", meta.namespace.as_deref())?;
        self.fields()
    }
}

fn named(field: &str, name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) if !name.is_empty() && !text::is_name(name) => {
            Err(format!("{field} is not a name: {name:?}"))
        }
        _ => Ok(()),
    }
}

fn address(field: &str, text: &str) -> Result<(), String> {
    text.parse::<IpAddr>().map(drop).map_err(|_invalid| format!("{field} is not an address: {text:?}"))
}

fn port(field: &str, number: i32) -> Result<(), String> {
    match u16::try_from(number) {
        Ok(1..) => Ok(()),
        _ => Err(format!("{field} is not a port: {number}")),
    }
}

impl Sound for Node {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        let addresses = self.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
        internal.try_for_each(|internal| address("status.addresses, InternalIP", &internal.address))
    }
}

impl Sound for Pod {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        named("spec.nodeName", self.spec.as_ref().and_then(|spec| spec.node_name.as_deref()))?;
        let Some(status) = &self.status else { return Ok(()) };
        let mut all = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
        all.try_for_each(|ip| address("status.podIPs", ip))?;
        let one = status.pod_ip.as_deref().filter(|ip| !ip.is_empty());
        one.map_or(Ok(()), |ip| address("status.podIP", ip))
    }
}

impl Sound for Service {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        let Some(spec) = &self.spec else { return Ok(()) };
        let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        // Headless services say so in place of an address; ExternalName services say nothing.
        let mut all = all.filter(|ip| !matches!(ip.as_str(), "" | "None"));
        all.try_for_each(|ip| address("spec.clusterIPs", ip))?;
        spec.external_ips.iter().flatten().try_for_each(|ip| address("spec.externalIPs", ip))?;
        let status = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
        let mut ingress = ingress.filter_map(|at| at.ip.as_deref()).filter(|ip| !ip.is_empty());
        ingress.try_for_each(|ip| address("status.loadBalancer.ingress", ip))?;
        spec.ports.iter().flatten().try_for_each(|of| {
            // 0: none yet, as some tools write it.
            of.node_port.filter(|&number| number != 0).map_or(Ok(()), |number| port("nodePort", number))?;
            port("spec.ports", of.port)
        })
    }
}

impl Sound for EndpointSlice {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        self.ports
            .iter()
            .flatten()
            .filter_map(|port| port.port)
            .try_for_each(|number| port("ports", number))?;
        for endpoint in &self.endpoints {
            named("endpoints.nodeName", endpoint.node_name.as_deref())?;
            if self.address_type != "FQDN" {
                endpoint.addresses.iter().try_for_each(|text| address("endpoints.addresses", text))?;
            }
        }
        Ok(())
    }
}

impl Sound for Ingress {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        let rules = self.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        rules
            .filter_map(|rule| rule.host.as_deref())
            .try_for_each(|host| named("spec.rules.host", Some(host.trim_start_matches("*."))))?;
        let status = self.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let at = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
        let mut at = at.filter_map(|at| at.ip.as_deref()).filter(|ip| !ip.is_empty());
        at.try_for_each(|ip| address("status.loadBalancer.ingress", ip))
    }
}

impl Sound for GatewayObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        self.spec.listeners.iter().try_for_each(|listener| port("spec.listeners.port", listener.port))
    }
}

impl Sound for HttpRouteObject {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Sound for Namespace {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn fields(&self) -> Result<(), String> {
        Ok(())
    }
}
