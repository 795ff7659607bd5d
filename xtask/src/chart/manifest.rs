//! `deploy/netcheck.yaml`: the chart with its defaults, for those who install without Helm. A file that everybody has
//! can hold no key, so its certificate comes from a Secret that its first lines say how to make.

use anyhow::Result;

use super::{Wanted, golden, helm};
use crate::tools::root;

const VALUES: &[&str] = &[
    "--skip-tests",
    "--set=namespace.create=true",
    "--set=tls.mode=existingSecret",
    "--set=tls.existingSecret.hub=netcheck-tls",
];

const HEAD: &str = "\
# netcheck, for `kubectl apply`. Made from the chart in netcheck/ by `cargo xtask chart manifest`; don't edit.
#
# Agents and the hub speak TLS: with OpenSSL 3, make an authority and the hub's certificate first (or take your own).
#
#   openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=netcheck -keyout ca.key -out ca.crt
#   openssl req -newkey rsa:2048 -nodes -subj /CN=netcheck-hub -keyout tls.key -out tls.csr \\
#     -addext subjectAltName=DNS:netcheck-hub.netcheck.svc,DNS:localhost
#   openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -days 3650 -copy_extensions copy -out tls.crt
#   kubectl create namespace netcheck
#   kubectl -n netcheck create secret generic netcheck-tls \\
#     --from-file=ca.crt --from-file=tls.crt --from-file=tls.key
#   kubectl apply -f netcheck.yaml
#
# Then: kubectl -n netcheck exec deployment/netcheck-hub -- /kubectl-netcheck report
# And to remove it: kubectl delete -f netcheck.yaml
";

/// The file as it should be.
pub(super) fn wanted() -> Result<Vec<Wanted>> {
    let rendered = golden::without_chance(&helm::template(VALUES)?);
    // What Helm alone uses.
    let ours =
        |line: &&str| !line.starts_with("# Source: ") && !line.trim_start().starts_with("helm.sh/chart: ");
    let body: String = rendered
        .lines()
        .filter(ours)
        .map(|line| {
            line.replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl") + "\n"
        })
        .collect();
    Ok(vec![Wanted { path: root().join("deploy/netcheck.yaml"), text: format!("{HEAD}{body}") }])
}
