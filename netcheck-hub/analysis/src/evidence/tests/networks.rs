//! Probes that stay in a secondary network of pods: what nobody saw means something only where such packets are seen.

use super::*;

const VANTAGES: &str = r#"
- kind: Pod
  metadata:
    name: vantage-1
    namespace: netcheck
    labels: {app.kubernetes.io/name: netcheck, app.kubernetes.io/component: vantage}
    annotations:
      k8s.v1.cni.cncf.io/network-status: '[{"name": "a/storage", "interface": "net1", "ips": ["10.1.0.1"]}]'
  spec: {nodeName: n1, containers: []}
  status: {phase: Running, podIP: 10.244.1.9, conditions: [{type: Ready, status: "True"}]}
- kind: Pod
  metadata:
    name: db-2
    namespace: default
    annotations:
      k8s.v1.cni.cncf.io/network-status: '[{"name": "a/storage", "interface": "net1", "ips": ["10.1.0.2"]}]'
  spec: {nodeName: n2, containers: []}
  status: {phase: Running, podIP: 10.244.2.9, conditions: [{type: Ready, status: "True"}]}
"#;

const DB: &str = "pod/default/db-2@a/storage";

fn lost(hooks: &[HookSeen]) -> Lost {
    let sample =
        LostSample { path: PathId(1), sequence: 7, request_hooks: hooks.to_vec(), ..Default::default() };
    Lost::new(sample, Outcome::Timeout, 100 * SECOND_NS, 101 * SECOND_NS)
}

fn located(lost: &Lost, direct: impl Fn(&mut LocateInput<'_>)) -> Located {
    let world = World::of(&format!("{CLUSTER}{VANTAGES}"));
    let mut input = world.input(world.probe(DB, ProbeKind::Icmp), lost);
    input.source_pod = Some("netcheck/vantage-1".to_owned());
    assert_eq!(input.destination, Some("n2"), "by the address on the network");
    direct(&mut input);
    locate(&input, lost)
}

#[test]
fn where_no_hook_is_known_to_see_the_network_there_is_no_place() {
    // A virtual function of a network card goes past the node's kernel: nobody saw anything.
    let source = located(&lost(&[]), |input| {
        (input.give_up, input.source_watches_pods, input.source_watches_uplinks) = (true, false, false);
        input.visibility = Visibility::Elsewhere;
    });
    assert!(place(&source).starts_with("unlocated: no hook to see whether it came out"), "{source:?}");
    // The source's hooks see it, the destination's may not.
    let beyond = located(&lost(&[veth(false), uplink(true)]), |input| {
        (input.give_up, input.visibility) = (true, Visibility::Elsewhere);
    });
    assert_eq!(place(&beyond), "unlocated: left n1; n2 cannot tell whether it arrived on network a/storage");
    let fact = "no hook of n2 is known to see network a/storage".to_owned();
    assert!(beyond.evidence.contains(&fact), "{beyond:?}");
}

#[test]
fn where_hooks_see_the_network_its_losses_are_located_as_any() {
    let mut answered = lost(&[veth(false), uplink(true)]);
    answered.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let wire = located(&answered, |input| input.give_up = true);
    assert_eq!(place(&wire), "n1 eth0 Wire Request inferred n2");
    let inside = located(&lost(&[]), |input| input.give_up = true);
    assert_eq!(place(&inside), "n1 - Send Request inferred");
}
