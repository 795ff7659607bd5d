//! Why a path of the hub's plan is not probed: what the hub, and so the operator, is shown of it.

use std::error::Error;
use std::net::IpAddr;

use netcheck_common::domain::ProbeKind;
use netcheck_proto::convert::InvalidField;

/// The reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotProbed {
    #[error(transparent)]
    Field(#[from] InvalidField),
    #[error("{field}: {source}")]
    Unreadable { field: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("more than {most} paths")]
    TooManyPaths { most: usize },
    #[error("no pod vantage on this node")]
    NoPodVantage,
    #[error("the node itself has no way into network {network}")]
    OutsideNetwork { network: String },
    #[error("a path whose name is looked up has no address")]
    NameAndAddress,
    #[error("{address} is {what}")]
    Forbidden { address: IpAddr, what: &'static str },
    #[error("{address} belongs to no object of the cluster, and is not in --allow-cidr of this agent")]
    NotAllowed { address: IpAddr },
    /// This agent has no sockets for such probes.
    #[error("{why}")]
    Missing { why: String },
    #[error("no {kind} probes on secondary networks of pods")]
    OnSecondaryNetwork { kind: ProbeKind },
    #[error("a {kind} path needs a port")]
    NoPort { kind: ProbeKind },
    #[error("payload of {bytes} bytes is above {most}")]
    Payload { bytes: u32, most: u32 },
    #[error("DNS record type {number} is none of A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT")]
    RecordType { number: u32 },
    #[error("a dns path needs a name")]
    NoDnsName,
    #[error("http.resolve is no name")]
    NotAName,
    #[error("an http path needs a request")]
    NoRequest,
    #[error("an http path needs a host, and a path that starts with a slash")]
    HostOrPath,
    #[error("an http path's method is none of DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")]
    Method,
    #[error("an http path's body of {bytes} bytes is above {most}")]
    Body { bytes: usize, most: usize },
    #[error("an http path has at most {most} headers, of {bytes} bytes together")]
    TooManyHeaders { most: usize, bytes: usize },
    #[error("an http path may not set the header {name}")]
    Header { name: String },
    #[error("more than {most} ranges of statuses")]
    TooManyStatuses { most: usize },
    #[error("{first} to {last} is no range of statuses")]
    StatusRange { first: u32, last: u32 },
}

impl NotProbed {
    /// A field whose text is not what it should be: for `map_err`.
    pub(super) fn unreadable<E: Error + Send + Sync + 'static>(
        field: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Unreadable { field, source: Box::new(source) }
    }
}
