//! What a check asks for itself, besides what the hub has agents probe: requests by HTTP, questions to DNS servers.
#![expect(unreachable_pub, reason = "KubeSchema copies the types into a function")]

use std::fmt;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request by HTTP.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = Rule::new("!(has(self.body) || has(self.bodyFrom)) || (has(self.method) && !(self.method in ['GET', 'HEAD']))")
        .message("a body needs another method than GET and HEAD"),
    validation = Rule::new("!(has(self.body) && has(self.bodyFrom))").message("body or bodyFrom, not both"),
    validation = Rule::new("!has(self.verify) || !self.verify || self.url.startsWith('https://')")
        .message("only certificates of https can be verified")
)]
pub struct HttpTarget {
    /// http or https, with a name or an address. A service is asked as NAME.NAMESPACE.svc. What no object of the cluster has
    /// is asked only where the agents' --allow-cidr holds the address.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^https?://[^ #]+$"))]
    pub url: String,
    /// What is done.
    #[serde(default, skip_serializing_if = "Method::is_get")]
    pub method: Method,
    /// Besides those that every request has, or in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// What is sent, at most 4 KiB. Whoever may read this object reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Secret>,
    /// Where that is instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_from: Option<TextSource>,
    /// Statuses that are the expected answer, as in 200-299,401; unset: 200-399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 3, max = 255),
        regex(pattern = r"^[1-9][0-9]{2}(-[1-9][0-9]{2})?(, ?[1-9][0-9]{2}(-[1-9][0-9]{2})?)*$")
    )]
    pub expected_statuses: Option<String>,
    /// The hub's authorities must vouch for the certificate (its --http-ca).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verify: bool,
}

/// One header.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    crates(kube_core = "::kube_core"),
    validation = Rule::new("has(self.value) != has(self.valueFrom)").message("exactly one of value and valueFrom")
)]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$"))]
    pub name: String,
    /// Its value. Whoever may read this object reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Secret>,
    /// Where its value is instead. One line break at its end is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<TextSource>,
}

/// Where a text is that is not in the object.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TextSource {
    /// In a Secret of the hub's namespace that the hub may read for checks (hub.checkSecrets of the chart, --check-secrets). It
    /// is read anew for each round.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// What is done by a request.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// DELETE.
    Delete,
    /// GET.
    #[default]
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// PATCH.
    Patch,
    /// POST.
    Post,
    /// PUT.
    Put,
}

impl Method {
    /// As it is sent.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    /// The one that is sent where nobody says which.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
    const fn is_get(&self) -> bool {
        matches!(self, Self::Get)
    }
}

/// Questions to DNS servers: each name with each type, to each server in each way.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsTarget {
    /// Whole names: no search list applies.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    pub names: Vec<String>,
    /// Types of records; unset: A.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    pub types: Vec<RecordType>,
    /// Addresses, with or without a port; unset: the cluster's DNS servers. What no object of the cluster has is asked only
    /// where the agents' --allow-cidr holds the address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 2, max = 60)))]
    pub servers: Vec<String>,
    /// In which ways; unset: udp. Over TLS at port 853 where the server has no port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub transports: Vec<DnsTransport>,
}

/// Type of a DNS record.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Another name.
    Cname,
    /// A mail server.
    Mx,
    /// A name server.
    Ns,
    /// The name of an address.
    Ptr,
    /// The zone's own record.
    Soa,
    /// A service.
    Srv,
    /// Text.
    Txt,
}

impl RecordType {
    /// As people call it, and its number (IANA).
    #[must_use]
    pub const fn parts(self) -> (&'static str, u16) {
        match self {
            Self::A => ("A", 1),
            Self::Aaaa => ("AAAA", 28),
            Self::Cname => ("CNAME", 5),
            Self::Mx => ("MX", 15),
            Self::Ns => ("NS", 2),
            Self::Ptr => ("PTR", 12),
            Self::Soa => ("SOA", 6),
            Self::Srv => ("SRV", 33),
            Self::Txt => ("TXT", 16),
        }
    }
}

/// How a question travels.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsTransport {
    /// As datagrams.
    Udp,
    /// Over a connection.
    Tcp,
    /// Over TLS (RFC 7858).
    Tls,
}

/// A text that nobody prints. It is stored in the object as it is.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 4096 })
    }
}
