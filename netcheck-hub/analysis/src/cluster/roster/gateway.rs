//! Gateways and HTTPRoutes of the Gateway API (gateway-api.sigs.k8s.io, `gateway.networking.k8s.io/v1`), which no crate
//! of the API's own types has: the fields that matter here, and which host and path is asked for where. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use netcheck_proto::text;
use serde::Deserialize;

use super::build::namespaced;
use super::frontend::{FrontendKind, Host, HttpFrontend, covers, named_hosts};

/// A Gateway, as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayObject {
    /// Name, labels and annotations.
    pub metadata: ObjectMeta,
    pub(crate) spec: GatewaySpec,
    pub(crate) status: GatewayStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct GatewaySpec {
    pub(crate) listeners: Vec<Listener>,
}

/// One port of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listener {
    name: String,
    hostname: Option<String>,
    pub(crate) port: i32,
    protocol: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct GatewayStatus {
    addresses: Vec<GatewayAddress>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct GatewayAddress {
    value: String,
}

/// An HTTPRoute, as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HttpRouteObject {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    spec: RouteSpec,
    status: RouteStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RouteSpec {
    hostnames: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Rule {
    matches: Vec<Match>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Match {
    path: Option<PathMatch>,
    method: Option<String>,
    headers: Vec<serde_json::Value>,
    query_params: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct PathMatch {
    r#type: Option<String>,
    value: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RouteStatus {
    parents: Vec<RouteParent>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RouteParent {
    parent_ref: ParentRef,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ParentRef {
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

macro_rules! resource {
    ($object:ty, $kind:literal, $plural:literal) => {
        impl Resource for $object {
            const API_VERSION: &'static str = "gateway.networking.k8s.io/v1";
            const GROUP: &'static str = "gateway.networking.k8s.io";
            const KIND: &'static str = $kind;
            const VERSION: &'static str = "v1";
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = NamespaceResourceScope;
        }

        impl Metadata for $object {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(GatewayObject, "Gateway", "gateways");
resource!(HttpRouteObject, "HTTPRoute", "httproutes");

/// What is kept of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Without sites.
    frontend: HttpFrontend,
    listeners: Vec<Listener>,
    /// Names that stand for hosts that are left open.
    named: Vec<String>,
}

/// What is kept of an HTTPRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRoute {
    /// The Gateways that have taken it.
    parents: Vec<Parent>,
    hostnames: Vec<String>,
    paths: Vec<String>,
    /// Rules that a plain GET of a path does not meet.
    special: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parent {
    /// `namespace/name`.
    gateway: String,
    listener: Option<String>,
    port: Option<i32>,
}

/// Keeps what matters of a Gateway.
#[must_use]
pub fn gateway(object: &GatewayObject) -> Option<Gateway> {
    let mut frontend = HttpFrontend::plain(FrontendKind::Gateway, &object.metadata)?;
    for address in &object.status.addresses {
        frontend.add_address(&address.value);
    }
    let named = named_hosts(&object.metadata);
    Some(Gateway { frontend, listeners: object.spec.listeners.clone(), named })
}

/// Keeps what matters of a route; nothing of one that no Gateway has taken.
#[must_use]
pub fn route(object: &HttpRouteObject) -> Option<HttpRoute> {
    let accepted = |parent: &&RouteParent| {
        let mut all = parent.conditions.iter();
        all.any(|condition| condition.r#type == "Accepted" && condition.status == "True")
            && parent.parent_ref.kind.as_deref().is_none_or(|kind| kind == "Gateway")
    };
    let parent = |RouteParent { parent_ref, .. }: &RouteParent| Parent {
        gateway: match &parent_ref.namespace {
            Some(namespace) => format!("{namespace}/{}", parent_ref.name),
            None => namespaced(&object.metadata, &parent_ref.name),
        },
        listener: parent_ref.section_name.clone(),
        port: parent_ref.port,
    };
    let parents: Vec<Parent> = object.status.parents.iter().filter(accepted).map(parent).collect();
    if parents.is_empty() {
        return None;
    }
    let (mut paths, mut special) = (Vec::new(), 0);
    for rule in &object.spec.rules {
        if rule.matches.is_empty() {
            paths.push("/".to_owned());
        }
        for of in &rule.matches {
            let other = of.method.as_deref().is_some_and(|method| method != "GET");
            let path = of.path.clone().unwrap_or_default();
            let pattern = path.r#type.as_deref() == Some("RegularExpression");
            if other || pattern || !of.headers.is_empty() || !of.query_params.is_empty() {
                special += 1;
            } else {
                paths.push(path.value.unwrap_or_else(|| "/".to_owned()));
            }
        }
    }
    if object.spec.rules.is_empty() {
        paths.push("/".to_owned());
    }
    Some(HttpRoute { parents, hostnames: object.spec.hostnames.clone(), paths, special })
}

/// Puts Gateways and routes together.
pub fn join<'a>(
    gateways: impl Iterator<Item = &'a Gateway>,
    routes: impl Iterator<Item = &'a HttpRoute>,
) -> Vec<HttpFrontend> {
    let routes: Vec<&HttpRoute> = routes.collect();
    gateways.map(|gateway| of(gateway, &routes)).collect()
}

fn of(gateway: &Gateway, routes: &[&HttpRoute]) -> HttpFrontend {
    let mut frontend = gateway.frontend.clone();
    let own = format!("{}/{}", frontend.namespace, frontend.name);
    for listener in &gateway.listeners {
        let tls = match listener.protocol.as_str() {
            "HTTP" => false,
            "HTTPS" => true,
            other => {
                let line = format!("listener {}, which speaks {other}", listener.name);
                frontend.skipped.insert(text::line(&line));
                continue;
            }
        };
        let Ok(port) = u16::try_from(listener.port) else { continue };
        for route in routes {
            let here = |parent: &Parent| {
                parent.gateway == own
                    && parent.listener.as_ref().is_none_or(|name| *name == listener.name)
                    && parent.port.is_none_or(|number| number == listener.port)
            };
            if !route.parents.iter().any(here) {
                continue;
            }
            if route.special > 0 {
                frontend.skipped.insert("rules that a plain GET of a path does not meet".to_owned());
            }
            for host in hosts(listener.hostname.as_deref().unwrap_or_default(), &route.hostnames) {
                let host = frontend.host(&host, &gateway.named);
                if host == Host::Wild {
                    continue;
                }
                for path in &route.paths {
                    if frontend.plain_path(path) {
                        frontend.add_sites(&host, path, &[(tls, port)]);
                    }
                }
            }
        }
    }
    frontend
}

/// The hosts that a listener and a route have in common, the narrower one of each two.
fn hosts(listener: &str, route: &[String]) -> Vec<String> {
    let within = |wide: &str, narrow: &str| match wide.strip_prefix("*.") {
        Some(domain) => {
            // In this API a wildcard covers any number of labels.
            let mut rest = narrow.strip_prefix("*.").unwrap_or(narrow);
            narrow.starts_with("*.") && rest.eq_ignore_ascii_case(domain)
                || loop {
                    if covers(domain, rest) {
                        break true;
                    }
                    let Some((_, shorter)) = rest.split_once('.') else { break false };
                    rest = shorter;
                }
        }
        None => wide.is_empty() || wide.eq_ignore_ascii_case(narrow),
    };
    if route.is_empty() {
        return vec![listener.to_owned()];
    }
    let both = route.iter().filter_map(|host| {
        if within(listener, host) {
            Some(host.clone())
        } else {
            within(host, listener).then(|| listener.to_owned())
        }
    });
    both.collect()
}

#[cfg(test)]
mod tests;
