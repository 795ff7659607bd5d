//! What each hub is sent of the other cluster, and for how long: begun, renewed while the check takes, ended.

use std::time::Duration;

use anyhow::Context as _;
use netcheck_proto::{convert, v1};

use crate::connect::Hub;
use crate::{answer, refused};

/// How long targets stay where nobody renews them: after this a check that was killed has left nothing.
const LEASE: Duration = Duration::from_secs(180);
/// How often they are renewed: some renewals may be lost.
const RENEW: Duration = Duration::from_secs(45);

/// What a cluster has.
pub(super) async fn own(hub: &Hub, kinds: &[v1::TargetKind]) -> anyhow::Result<v1::ListOwnTargetsResponse> {
    let kinds = kinds.iter().map(|&kind| kind.into()).collect();
    answer(hub.peers().list_own_targets(v1::ListOwnTargetsRequest { kinds, most: 0 })).await
}

/// Leases at both hubs.
pub(super) struct Leased<'a> {
    /// Each hub, the cluster whose targets it was sent, and what the hub's own is called.
    hubs: [(&'a Hub, &'a str, &'a str); 2],
    holder: String,
    /// What is not probed, one line each.
    left_out: Vec<String>,
}

impl<'a> Leased<'a> {
    /// Leases at both hubs: each with the name of the other cluster and what that has. Where one refuses, neither is left.
    ///
    /// # Errors
    /// What the hub says.
    pub(super) async fn begin(
        sides: [(&'a Hub, &'a String, v1::ListOwnTargetsResponse); 2],
        names: &'a [String; 2],
    ) -> anyhow::Result<Self> {
        // Nobody else is called so.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let holder = format!("{}-{}", std::process::id(), since.as_nanos());
        let [(src, of_dst, there), (dst, of_src, back)] = sides;
        let left_out = [(of_dst, &there), (of_src, &back)].into_iter().flat_map(|(cluster, announced)| {
            announced.left_out.iter().map(move |line| format!("of {cluster}: {line}"))
        });
        let left_out = left_out.collect();
        let hubs = [(src, of_dst.as_str(), names[0].as_str()), (dst, of_src.as_str(), names[1].as_str())];
        let leased = Self { hubs, holder, left_out };
        for (at, targets) in [there.targets, back.targets].into_iter().enumerate() {
            let (hub, cluster, own) = leased.hubs[at];
            let request = leased.request(cluster, LEASE);
            let begun =
                answer(hub.peers().lease_targets(v1::LeaseTargetsRequest { targets, ..request })).await;
            if let Err(error) = begun {
                leased.end().await;
                return Err(error).with_context(|| format!("cluster {own}"));
            }
        }
        Ok(leased)
    }

    fn request(&self, cluster: &str, lease: Duration) -> v1::LeaseTargetsRequest {
        v1::LeaseTargetsRequest {
            cluster: cluster.to_owned(),
            holder: self.holder.clone(),
            lease: Some(convert::duration(lease)),
            ..Default::default()
        }
    }

    /// Renews them until one is lost; why.
    pub(super) async fn renewed(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(RENEW).await;
            for (hub, cluster, own) in self.hubs {
                let request = v1::LeaseTargetsRequest { renew: true, ..self.request(cluster, LEASE) };
                match hub.peers().lease_targets(request).await {
                    // It may answer next time; if not, the check itself shows it.
                    Ok(_) => {}
                    Err(status) if status.code() == tonic::Code::Aborted => {
                        return refused(status).context(format!("cluster {own}"));
                    }
                    Err(_status) => {}
                }
            }
        }
    }

    /// Ends both, as far as the hubs answer; else they end by themselves. What was not probed, one line each.
    pub(super) async fn end(self) -> Vec<String> {
        let ended = self.hubs.map(|(hub, cluster, _)| {
            let request = self.request(cluster, Duration::ZERO);
            async move { drop(answer(hub.peers().lease_targets(request)).await) }
        });
        let [src, dst] = ended;
        tokio::join!(src, dst);
        self.left_out
    }
}
