//! `PeerService`: gives another cluster's checks what this one has, and has what that one has probed for as long as they
//! want it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use netcheck_analysis::model::clock::{nanos, timestamp, unix_now_ns};
use netcheck_analysis::plan::peers::leases::{Claim, LeaseError};
use netcheck_analysis::plan::peers::{OwnTarget, TARGETS_MAX, own};
use netcheck_analysis::wire::peers::{PeerError, cluster_name, read};
use netcheck_analysis::wire::target::target_kind;
use netcheck_proto::v1::peer_service_server::PeerService;
use netcheck_proto::{convert, v1};
use tonic::{Request, Response, Status};

use crate::serve::reachability::invalid;
use crate::state::Hub;

/// How long a lease is that says nothing.
const LEASE: Duration = Duration::from_secs(600);
/// The longest.
const LONGEST: Duration = Duration::from_secs(3600);

/// The service.
pub struct Peers {
    hub: Arc<Hub>,
}

impl Peers {
    /// Of this hub.
    #[must_use]
    pub const fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Ends a lease, prolongs it, or begins one. When it ends.
    fn lease(&self, request: &v1::LeaseTargetsRequest, now_ns: i64) -> Result<Option<i64>, Status> {
        let cluster = cluster_name(&request.cluster).map_err(invalid)?;
        let holder = convert::name("holder", &request.holder).map_err(invalid)?;
        let lease = match request.lease {
            None => LEASE,
            Some(wire) => Duration::try_from(wire)
                .map_err(|_negative| Status::invalid_argument("lease: less than nothing"))?
                .min(LONGEST),
        };
        if lease.is_zero() {
            let mut state = self.hub.lock();
            let ended = state.peers.end(cluster, holder);
            state.stale |= ended;
            return Ok(None);
        }
        if !self.hub.settings.peer_targets {
            return Err(Status::failed_precondition(
                "this hub has no targets of other clusters probed: set hub.peerTargets to true in the chart (the hub's flag \
                 --peer-targets), and let agent.allowCidrs (the agents' --allow-cidr) hold the other cluster's addresses",
            ));
        }
        let until_ns = now_ns.saturating_add(nanos(lease));
        let claim = Claim { cluster, holder, until_ns };
        if request.renew {
            self.hub.lock().peers.renew(claim, now_ns).map_err(not_leased)?;
        } else {
            let probes = read(cluster, &request.targets).map_err(|error| match error {
                PeerError::Field(field) => invalid(field),
                other => Status::invalid_argument(other.to_string()),
            })?;
            let mut state = self.hub.lock();
            state.peers.begin(claim, probes, now_ns).map_err(not_leased)?;
            state.stale = true;
        }
        Ok(Some(until_ns))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn not_leased(error: LeaseError) -> Status {
    match error {
        LeaseError::Lost { .. } => Status::aborted(error.to_string()),
        LeaseError::Full { .. } => Status::resource_exhausted(error.to_string()),
    }
}

#[tonic::async_trait]
impl PeerService for Peers {
    async fn list_own_targets(
        &self,
        request: Request<v1::ListOwnTargetsRequest>,
    ) -> Result<Response<v1::ListOwnTargetsResponse>, Status> {
        let request = request.into_inner();
        let kind = |&kind: &i32| target_kind("kinds", kind);
        let kinds = request.kinds.iter().map(kind).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        let most = match request.most as usize {
            0 => TARGETS_MAX,
            most => most,
        };
        let state = self.hub.lock();
        let catalog = Arc::clone(&state.catalog);
        let live = state.each().filter(|(_, agent)| agent.live.is_some());
        let answering: BTreeSet<String> = live.map(|(_, agent)| agent.name.to_string()).collect();
        drop(state);
        let own_targets = own(&catalog, &kinds, most, &answering);
        Ok(Response::new(v1::ListOwnTargetsResponse {
            targets: own_targets.targets.iter().map(OwnTarget::to_wire).collect(),
            left_out: own_targets.left_out,
        }))
    }

    async fn lease_targets(
        &self,
        request: Request<v1::LeaseTargetsRequest>,
    ) -> Result<Response<v1::LeaseTargetsResponse>, Status> {
        let request = request.into_inner();
        let now_ns = unix_now_ns();
        let until_ns = self.lease(&request, now_ns)?;
        let hub = Arc::clone(&self.hub);
        let planned = tokio::task::spawn_blocking(move || hub.plan_due(now_ns)).await;
        planned.map_err(|_ended| Status::unavailable("the hub is shutting down"))?;
        let expires_at = until_ns.map(timestamp);
        Ok(Response::new(v1::LeaseTargetsResponse { expires_at }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Settings;

    fn target() -> v1::PeerTarget {
        v1::PeerTarget {
            id: "node/n1".to_owned(),
            kind: v1::TargetKind::Node.into(),
            name: "n1".to_owned(),
            probes: vec![v1::PeerProbe {
                kind: v1::ProbeKind::Icmp.into(),
                address: vec![10, 9, 0, 1],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn request(holder: &str, seconds: Option<i64>) -> v1::LeaseTargetsRequest {
        v1::LeaseTargetsRequest {
            cluster: "east".to_owned(),
            holder: holder.to_owned(),
            lease: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            targets: vec![target()],
            ..Default::default()
        }
    }

    fn peers_of(hub: &Hub) -> usize {
        hub.lock().catalog.probes.iter().filter(|probe| probe.target.peer.is_some()).count()
    }

    #[tokio::test]
    async fn a_hub_that_does_not_serve_peers_says_what_to_set() {
        let peers = Peers::new(Hub::new(Settings::every(Duration::from_secs(1))));
        let refused = peers.lease_targets(Request::new(request("a", None))).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        for word in ["hub.peerTargets", "--peer-targets", "agent.allowCidrs"] {
            assert!(refused.message().contains(word), "{}", refused.message());
        }
        assert_eq!(peers_of(&peers.hub), 0);
    }

    #[tokio::test]
    async fn targets_are_probed_until_the_lease_ends() {
        let settings = Settings { peer_targets: true, ..Settings::every(Duration::from_secs(1)) };
        let peers = Peers::new(Hub::new(settings));
        let lease = |request| peers.lease_targets(Request::new(request));
        let code = |answer: Result<Response<v1::LeaseTargetsResponse>, Status>| {
            answer.map_err(|status| status.code())
        };
        lease(request("a", Some(60))).await.unwrap();
        assert_eq!(peers_of(&peers.hub), 1, "when it is answered, it is planned");
        // Another one takes over; the first learns it when it wants to go on, and can't end what is not its own.
        lease(request("b", Some(60))).await.unwrap();
        let renewal = v1::LeaseTargetsRequest { renew: true, targets: Vec::new(), ..request("a", Some(60)) };
        assert_eq!(code(lease(renewal.clone()).await).unwrap_err(), tonic::Code::Aborted);
        lease(request("a", Some(0))).await.unwrap();
        assert_eq!(peers_of(&peers.hub), 1);
        let renewal = v1::LeaseTargetsRequest { holder: "b".to_owned(), ..renewal };
        let renewed = lease(renewal).await.unwrap().into_inner();
        assert!(renewed.expires_at.is_some());
        lease(request("b", Some(0))).await.unwrap();
        assert_eq!(peers_of(&peers.hub), 0);
        // Nobody ends it: the tick does.
        lease(request("c", Some(1))).await.unwrap();
        assert_eq!(peers_of(&peers.hub), 1);
        peers.hub.tick(unix_now_ns() + nanos(Duration::from_secs(2)));
        assert_eq!(peers_of(&peers.hub), 0);
        let empty = v1::LeaseTargetsRequest { targets: Vec::new(), ..request("d", None) };
        assert_eq!(code(lease(empty).await).unwrap_err(), tonic::Code::InvalidArgument);
    }
}
