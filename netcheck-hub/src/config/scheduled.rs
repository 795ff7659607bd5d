//! Flags of scheduled checks.

use std::str::FromStr;

use clap::Args;
use netcheck_proto::text::is_name;

/// Whether there are any, and who begins them.
#[derive(Clone, Debug, Args)]
pub struct ScheduledFlags {
    /// Begin the rounds of ReachabilityChecks (netcheck.io/v1alpha1) that the Kubernetes API has, and write what they came
    /// to into their status.
    #[arg(long, env = "NETCHECK_SCHEDULED_CHECKS")]
    pub scheduled_checks: bool,

    /// The Lease (coordination.k8s.io) that says which of several hubs begins these rounds [default: there is no other hub].
    #[arg(
        long,
        env = "NETCHECK_SCHEDULED_LEASE",
        value_name = "NAMESPACE/NAME",
        requires = "scheduled_checks"
    )]
    pub scheduled_lease: Option<LeaseName>,

    /// Secrets in the hub's namespace that these checks may name for headers and bodies of their requests (valueFrom,
    /// bodyFrom). Whoever may create a check has what they hold sent where it says (names) [default: none].
    #[arg(
        long,
        env = "NETCHECK_CHECK_SECRETS",
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "scheduled_checks"
    )]
    pub check_secrets: Vec<String>,
}

/// Where a Lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// Its namespace.
    pub namespace: String,
    /// Its own name.
    pub name: String,
}

/// A text that is no [`LeaseName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected NAMESPACE/NAME")]
pub struct NoLeaseName;

impl FromStr for LeaseName {
    type Err = NoLeaseName;

    fn from_str(text: &str) -> Result<Self, NoLeaseName> {
        let (namespace, name) = text.split_once('/').ok_or(NoLeaseName)?;
        let named = |text: &str| !text.contains('/') && text.len() <= 253 && is_name(text);
        let read = || Self { namespace: namespace.to_owned(), name: name.to_owned() };
        (named(namespace) && named(name)).then(read).ok_or(NoLeaseName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_with_its_namespace() {
        let read: LeaseName = "netcheck/hub-checks".parse().unwrap();
        assert_eq!((read.namespace.as_str(), read.name.as_str()), ("netcheck", "hub-checks"));
        for text in ["", "a", "/a", "a/", "a/b/c", "a b/c"] {
            assert_eq!(text.parse::<LeaseName>(), Err(NoLeaseName), "{text}");
        }
    }
}
