//! With fewer capabilities: what still works, and that what is missing is named.

use netcheck_agent::kernel::{KernelConfig, open};
use netcheck_agent::model::observation::{DropSeen, Observation};
use netcheck_proto::v1::{EbpfState, Stage};
use rustix::thread::CapabilitySet;

use crate::nodes::{Bare, How, Pair, echo, keep_only};
use crate::{SESSION_A, observe, stamps};

/// What the classifiers need, and nothing that could stand in for more.
fn classifiers() -> CapabilitySet {
    CapabilitySet::BPF | CapabilitySet::NET_ADMIN
}

/// What the chart gives, and no more: CAP_SYSLOG is not among it, so /proc/kallsyms shows no addresses.
fn of_the_chart() -> CapabilitySet {
    classifiers() | CapabilitySet::PERFMON | CapabilitySet::NET_RAW
}

/// A request that the filter of its destination drops, as that reports it.
fn filtered(pair: &mut Pair) -> DropSeen {
    pair.b.nft(
        "add table inet t; add chain inet t in { type filter hook input priority 0; }; \
                add rule inet t in meta l4proto icmp @th,64,8 0xb7 drop",
    );
    assert!(echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, 1).is_none());
    let seen = observe(&mut pair.b, |seen| !seen.is_empty());
    let Some(Observation::Drop(drop)) = seen.into_iter().next() else { panic!("no drop") };
    drop
}

#[test]
fn with_the_charts_capabilities_a_drop_has_its_stage_and_function() {
    let how = How { capabilities: Some(of_the_chart()), ..How::default() };
    let mut pair = Pair::opened(SESSION_A, how, how);
    let status = pair.b.kernel.status();
    assert_eq!((status.state, status.degraded), (EbpfState::Attached, Vec::new()));
    let drop = filtered(&mut pair);
    assert_eq!((&*drop.reason, drop.stage), ("NETFILTER_DROP", Stage::NetfilterInput), "{drop:?}");
    assert!(drop.function.starts_with("nf"), "{drop:?}");
}

#[test]
fn what_a_kernel_does_not_name_is_said_with_what_would_bring_it() {
    let how = How { nameless: true, capabilities: Some(of_the_chart()), ..How::default() };
    let mut pair = Pair::opened(SESSION_A, How::default(), how);
    let status = pair.b.kernel.status();
    assert_eq!((status.state, status.drops_unseen), (EbpfState::Partial, false));
    let [line] = &*status.degraded else { panic!("{:?}", status.degraded) };
    assert!(line.starts_with("functions and stages of drops are not known: "), "{line}");
    assert!(line.ends_with("hides their addresses: capability CAP_SYSLOG is missing"), "{line}");
    let drop = filtered(&mut pair);
    assert_eq!((&*drop.reason, &*drop.function), ("NETFILTER_DROP", ""), "{drop:?}");
    // With the right to see addresses nothing is missing.
    let capabilities = Some(of_the_chart() | CapabilitySet::SYSLOG);
    let mut pair = Pair::opened(SESSION_A, How::default(), How { capabilities, ..how });
    assert_eq!(pair.b.kernel.status().degraded, Vec::<String>::new());
    let drop = filtered(&mut pair);
    assert_eq!(drop.stage, Stage::NetfilterInput, "{drop:?}");
    assert!(drop.function.starts_with("nf"), "{drop:?}");
}

#[test]
fn without_perfmon_all_but_drops_is_seen() {
    let how = How { capabilities: Some(classifiers()), ..How::default() };
    let mut pair = Pair::opened(SESSION_A, how, how);
    let status = pair.a.kernel.status();
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
                kernel_names: true,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(open(&config)).err().map(|error| error.one_line()).unwrap_or_default()
        });
        assert!(line.ends_with(expected) && !line.contains('\n'), "{capabilities:?}: {line}");
    }
}
