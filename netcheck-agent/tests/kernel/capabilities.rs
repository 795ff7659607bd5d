//! With fewer capabilities: what still works, and that what is missing is named.

use netcheck_agent::kernel::{KernelConfig, open};
use netcheck_proto::v1::EbpfState;
use rustix::thread::CapabilitySet;

use crate::nodes::{Bare, How, Pair, echo, keep_only};
use crate::{SESSION_A, observe, stamps};

/// What the classifiers need, and nothing that could stand in for more.
fn classifiers() -> CapabilitySet {
    CapabilitySet::BPF | CapabilitySet::NET_ADMIN
}

#[test]
fn without_perfmon_all_but_drops_is_seen() {
    let how = How { capabilities: Some(classifiers()), ..How::default() };
    let mut pair = Pair::opened(SESSION_A, how, how);
    let status = pair.a.eye.status();
    assert_eq!(status.state, EbpfState::Partial);
    assert_eq!(status.degraded, ["drops are not seen: capability CAP_PERFMON is missing"]);
    assert!(status.drops_unseen);
    for (source, target) in [(pair.a.v4, pair.b.v4), (pair.a.v6, pair.b.v6)] {
        for sequence in 1..=9 {
            let reply = echo(&pair.a, source, target, SESSION_A, sequence).expect("a reply");
            assert!(reply.reflected() && reply.t2_ns > 0 && reply.t3_ns >= reply.t2_ns, "{reply:?}");
        }
        observe(&mut pair.a, |seen| stamps(seen) >= 18);
        pair = Pair::opened(SESSION_A, how, how);
    }
}

#[test]
fn the_missing_capability_is_named_in_one_line() {
    for (capabilities, expected) in [
        (CapabilitySet::NET_ADMIN, "capability CAP_BPF is missing"),
        (CapabilitySet::BPF, "capability CAP_NET_ADMIN is missing"),
        (CapabilitySet::NET_RAW, "capabilities CAP_BPF, CAP_NET_ADMIN are missing"),
    ] {
        let line = Bare::new().run(move || {
            keep_only(capabilities);
            let config = KernelConfig {
                session: SESSION_A,
                responder_port: 6100,
                netns_scope: Vec::new(),
                clock_offset_ns: 0,
                tc_mode: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(open(&config)).err().map(|error| error.one_line()).unwrap_or_default()
        });
        assert!(line.ends_with(expected) && !line.contains('\n'), "{capabilities:?}: {line}");
    }
}
