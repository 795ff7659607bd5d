use proptest::prelude::*;

use super::*;
use crate::plan::policy;

fn plan() -> Plan {
    Plan::empty(policy::refusal, Allowed::default(), Vec::new(), false)
}

fn spec(path_id: u32, kind: v1::ProbeKind, address: &str, port: u32) -> v1::PathSpec {
    v1::PathSpec {
        path_id,
        vantage: v1::Vantage::Host.into(),
        kind: kind.into(),
        address: convert::address_bytes(address.parse().unwrap()),
        port,
        ..Default::default()
    }
}

fn delta(base_version: u64, version: u64, upsert: Vec<v1::PathSpec>, remove: Vec<u32>) -> v1::PlanDelta {
    v1::PlanDelta { version, base_version, upsert, remove, ..Default::default() }
}

#[test]
fn deltas_build_on_each_other() {
    let mut plan = plan();
    let icmp = spec(1, v1::ProbeKind::Icmp, "10.0.0.1", 0);
    let udp = spec(2, v1::ProbeKind::Udp, "fd00::1", 6100);
    plan.apply(&delta(0, 5, vec![icmp, udp.clone()], vec![])).unwrap();
    assert_eq!((plan.version, plan.paths.len()), (5, 2));
    assert_eq!(plan.paths[&PathId(2)].target, "[fd00::1]:6100".parse().unwrap());

    let moved = spec(2, v1::ProbeKind::Udp, "fd00::2", 6100);
    let change = plan.apply(&delta(5, 6, vec![moved], vec![1])).unwrap();
    assert_eq!(change.gone, [PathId(1), PathId(2)]);
    assert_eq!((plan.version, plan.paths.len()), (6, 1));

    let change = plan.apply(&delta(6, 7, vec![spec(3, v1::ProbeKind::Tcp, "10.0.0.9", 80)], vec![])).unwrap();
    assert_eq!((change, plan.paths.len()), (Change::default(), 2));

    let change = plan.apply(&delta(0, 8, vec![spec(3, v1::ProbeKind::Tcp, "10.0.0.9", 80)], vec![])).unwrap();
    assert_eq!(
        (change.gone, plan.paths.len()),
        (vec![PathId(2)], 1),
        "a full plan replaces, and keeps what stays"
    );
}

#[test]
fn a_gap_changes_nothing() {
    let mut plan = plan();
    plan.apply(&delta(0, 5, vec![spec(1, v1::ProbeKind::Icmp, "10.0.0.1", 0)], vec![])).unwrap();
    let gap = plan.apply(&delta(6, 7, vec![], vec![1])).unwrap_err();
    assert_eq!(gap, PlanGap { version: 7, base: 6, held: 5 });
    assert_eq!((plan.version, plan.paths.len()), (5, 1));
}

#[test]
fn unusable_paths_are_refused_with_a_reason_and_the_rest_stays() {
    let dns = |name: &str, dns_type| v1::PathSpec {
        dns_name: name.into(),
        dns_type,
        ..spec(0, v1::ProbeKind::Dns, "10.0.0.53", 53)
    };
    let table: Vec<(v1::PathSpec, &str)> = vec![
        (spec(0, v1::ProbeKind::Icmp, "127.0.0.1", 0), "loopback"),
        (spec(0, v1::ProbeKind::Icmp, "::1", 0), "loopback"),
        (spec(0, v1::ProbeKind::Tcp, "169.254.169.254", 80), "metadata"),
        (spec(0, v1::ProbeKind::Tcp, "fe80::1", 80), "link-local"),
        (spec(0, v1::ProbeKind::Udp, "239.1.1.1", 80), "multicast"),
        (spec(0, v1::ProbeKind::Udp, "10.0.0.1", 0), "port"),
        (spec(0, v1::ProbeKind::Tcp, "10.0.0.1", 70_000), "not a port"),
        (spec(0, v1::ProbeKind::Http, "10.0.0.1", 80), "needs a request"),
        (spec(0, v1::ProbeKind::Unspecified, "10.0.0.1", 80), "kind"),
        (
            v1::PathSpec { address: vec![1, 2], ..spec(0, v1::ProbeKind::Icmp, "10.0.0.1", 0) },
            "4 or 16 bytes",
        ),
        (v1::PathSpec { vantage: 2, ..spec(0, v1::ProbeKind::Icmp, "10.0.0.1", 0) }, "pod vantage"),
        (
            v1::PathSpec { network: "a/b".into(), ..spec(0, v1::ProbeKind::Icmp, "10.0.0.1", 0) },
            "no way into network a/b",
        ),
        (v1::PathSpec { payload_bytes: 9000, ..spec(0, v1::ProbeKind::Udp, "10.0.0.1", 6100) }, "payload"),
        (dns("a.example.", 255), "record type"),
        (dns("", 1), "name"),
        (dns("a..b.", 1), "dns_name"),
    ];
    let mut plan = plan();
    let mut upsert: Vec<_> =
        (1u32..).zip(&table).map(|(path_id, (spec, _))| v1::PathSpec { path_id, ..spec.clone() }).collect();
    upsert.push(spec(100, v1::ProbeKind::Icmp, "10.0.0.1", 0));
    upsert.push(v1::PathSpec { path_id: 101, ..dns("kubernetes.default.svc.cluster.local", 28) });
    for (path_id, dns_type) in (102u32..).zip([2, 5, 6, 12, 15, 16, 33]) {
        upsert.push(v1::PathSpec { path_id, ..dns("a.example.", dns_type) });
    }
    plan.apply(&delta(0, 1, upsert, vec![])).unwrap();
    for (path, (_, word)) in (1u32..).zip(&table) {
        let why =
            plan.refused.get(&PathId(path)).unwrap_or_else(|| panic!("path {path} ({word}) is not refused"));
        assert!(why.contains(word), "{why:?} should say {word:?}");
    }
    assert_eq!(plan.paths.len(), 9);
    assert_eq!(plan.refused_wire().len(), table.len());
    assert!(plan.paths[&PathId(101)].question.as_ref().unwrap().query.name().is_fqdn());
}

#[test]
fn what_the_agent_can_not_send_is_refused() {
    let why = "no icmp probes over ipv6: not permitted".to_owned();
    let missing = Missing { kind: ProbeKind::Icmp, family: Family::V6, why: why.clone() };
    let mut plan = Plan::empty(policy::refusal, Allowed::default(), vec![missing], false);
    let upsert = vec![
        spec(1, v1::ProbeKind::Icmp, "fd00::1", 0),
        spec(2, v1::ProbeKind::Icmp, "10.0.0.1", 0),
        spec(3, v1::ProbeKind::Udp, "fd00::1", 6100),
    ];
    plan.apply(&delta(0, 1, upsert, vec![])).unwrap();
    assert_eq!(plan.refused.iter().collect::<Vec<_>>(), [(&PathId(1), &why)]);
}

#[test]
fn a_dns_cache_may_be_found_after_its_path_was_planned_and_may_go() {
    let mut plan = plan();
    let dns = v1::PathSpec {
        dns_name: "a.example.".into(),
        dns_type: 1,
        ..spec(1, v1::ProbeKind::Dns, "169.254.20.10", 53)
    };
    let other = v1::PathSpec { path_id: 3, address: vec![169, 254, 20, 11], ..dns.clone() };
    let tcp = spec(2, v1::ProbeKind::Tcp, "169.254.20.10", 53);
    plan.apply(&delta(0, 1, vec![dns, tcp, other], vec![])).unwrap();
    assert_eq!((plan.paths.len(), plan.refused.len()), (0, 3));
    let cache: IpAddr = [169, 254, 20, 10].into();
    assert_eq!(plan.set_found_dns(vec![cache]), Some(vec![]));
    assert_eq!(plan.paths.keys().collect::<Vec<_>>(), [&PathId(1)], "DNS, and nothing else, goes there");
    assert_eq!(plan.refused.keys().collect::<Vec<_>>(), [&PathId(2), &PathId(3)]);
    assert_eq!(plan.set_found_dns(vec![cache]), None, "that is no news");
    plan.apply(&delta(1, 2, vec![], vec![3])).unwrap();
    let other = vec![[169, 254, 20, 11].into()];
    assert_eq!(plan.set_found_dns(other), Some(vec![PathId(1)]), "what is no cache any more is not probed");
    assert_eq!(
        (plan.paths.len(), plan.refused.len()),
        (0, 2),
        "a path that left the plan does not come back"
    );
}

#[test]
fn timing_is_kept_where_absent_and_clamped_where_absurd() {
    let mut plan = plan();
    let mut first = delta(0, 1, vec![], vec![]);
    first.interval = Some(convert::duration_from_ns(500 * MILLISECOND_NS));
    first.timeout = Some(convert::duration_from_ns(0));
    first.window = Some(prost_types::Duration { seconds: -5, nanos: 0 });
    first.packets_per_second = 7;
    first.size_interval = Some(convert::duration_from_ns(1));
    plan.apply(&first).unwrap();
    assert_eq!(
        plan.timing,
        Timing {
            interval_ns: 500 * MILLISECOND_NS,
            timeout_ns: MILLISECOND_NS,
            window_ns: SECOND_NS,
            wanted_pps: 7,
            sizes_ns: SECOND_NS,
            ..Timing::default()
        }
    );
    plan.apply(&delta(1, 2, vec![], vec![])).unwrap();
    assert_eq!((plan.timing.interval_ns, plan.timing.sizes_ns), (500 * MILLISECOND_NS, SECOND_NS));
}

#[test]
fn the_address_table_is_replaced_only_when_present() {
    let mut plan = plan();
    let mut first = delta(0, 1, vec![], vec![]);
    let entry =
        |address: Vec<u8>, pod: &str| v1::AddressEntry { address, pod: pod.into(), ..Default::default() };
    first.addresses = Some(v1::AddressTable {
        entries: vec![entry(vec![10, 0, 0, 1], ""), entry(vec![10, 0, 0, 2], "ns/p"), entry(vec![1], "")],
        watched_ports: vec![80, 70_000],
        ..Default::default()
    });
    assert!(plan.apply(&first).unwrap().addresses);
    assert_eq!((plan.addresses.len(), plan.watched_ports.as_slice()), (2, &[80u16][..]));
    assert!(!plan.apply(&delta(1, 2, vec![], vec![])).unwrap().addresses);
    assert_eq!(plan.addresses.len(), 2);

    let mut second = delta(2, 3, vec![], vec![]);
    second.addresses = Some(v1::AddressTable {
        entries: vec![entry(vec![10, 0, 0, 0], "ns/new"), entry(vec![10, 0, 0, 2], "ns/q")],
        watched_ports: vec![80, 81],
        change: true,
        gone: vec![vec![10, 0, 0, 1], vec![10, 0, 0, 99], vec![1, 2]],
    });
    assert!(plan.apply(&second).unwrap().addresses);
    let held = |plan: &Plan| {
        let of = |known: &KnownAddress| format!("{} {}", known.address, known.pod.as_deref().unwrap_or("-"));
        plan.addresses.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(held(&plan), ["10.0.0.0 ns/new", "10.0.0.2 ns/q"]);
    assert_eq!(plan.watched_ports, [80, 81]);
    // A plan that replaces all begins with nothing.
    let table = v1::AddressTable { change: true, ..first.addresses.clone().unwrap() };
    plan.apply(&v1::PlanDelta { version: 9, addresses: Some(table), ..first }).unwrap();
    assert_eq!(held(&plan), ["10.0.0.1 -", "10.0.0.2 ns/p"]);
}

proptest! {
    #[test]
    fn hostile_deltas_never_panic(
        path_id: u32, vantage in -1i32..4, kind in -1i32..8, address in prop::collection::vec(any::<u8>(), 0..20),
        port: u32, dns_name in ".{0,20}", dns_type in 0u32..40, payload_bytes: u32, seconds: i64, nanos: i32,
    ) {
        let spec = v1::PathSpec {
            path_id, vantage, kind, address, port, dns_name, dns_type, payload_bytes, target: String::new(),
            ..Default::default()
        };
        let duration = Some(prost_types::Duration { seconds, nanos });
        let mut plan = plan();
        let delta = v1::PlanDelta {
            interval: duration, timeout: duration, window: duration, size_interval: duration,
            ..delta(0, 1, vec![spec], vec![path_id])
        };
        plan.apply(&delta).unwrap();
        prop_assert_eq!(plan.paths.len() + plan.refused.len(), 1);
        prop_assert!(plan.timing.interval_ns >= 10 * MILLISECOND_NS && plan.timing.window_ns >= 100 * MILLISECOND_NS);
    }
}

#[test]
fn a_request_with_a_body_goes_nowhere_that_is_not_allowed() {
    let allowed = Allowed::new(vec!["192.0.2.0/24".parse().unwrap()], Vec::new());
    let mut plan = Plan::empty(policy::refusal, allowed, Vec::new(), false);
    let request = |resolve: &str| v1::HttpRequest {
        host: "web".to_owned(),
        path: "/".to_owned(),
        resolve: resolve.to_owned(),
        ..Default::default()
    };
    let post = |path_id, address, external, resolve| v1::PathSpec {
        external,
        call: Some(v1::HttpCall {
            request: Some(request(resolve)),
            method: "POST".to_owned(),
            headers: Vec::new(),
            body: b"x".to_vec(),
        }),
        ..spec(path_id, v1::ProbeKind::Http, address, 80)
    };
    let upsert = vec![
        post(1, "192.0.2.7", true, ""),
        post(2, "198.51.100.7", true, ""),
        post(3, "10.96.0.80", false, ""),
        post(4, "0.0.0.0", true, "shop.example.org"),
        post(5, "169.254.169.254", false, ""),
    ];
    plan.apply(&delta(0, 1, upsert, vec![])).unwrap();
    let mut taken: Vec<u32> = plan.paths.keys().map(|path| path.0).collect();
    taken.sort_unstable();
    assert_eq!(taken, [1, 3, 4]);
    assert!(plan.refused[&PathId(2)].contains("--allow-cidr"), "{:?}", plan.refused);
    assert!(plan.refused[&PathId(5)].contains("metadata"), "{:?}", plan.refused);
    let named = plan.paths[&PathId(4)].exchange.as_ref().unwrap();
    assert!(named.lookup.as_ref().unwrap().external, "where it leads is looked at before each probe");
    let plain = spec(9, v1::ProbeKind::Http, "10.0.0.1", 80);
    let plain = v1::PathSpec { http: Some(request("")), ..plain };
    let get = Plan::empty(policy::refusal, Allowed::default(), Vec::new(), false).check(&plain).unwrap();
    assert_eq!(
        plan.paths[&PathId(3)].load(&Timing::default()).packets,
        get.load(&Timing::default()).packets + 1
    );
}
