//! A cable that holds packets back: what the switch sends to a node takes a detour through a pair of devices between
//! which a relay (`netlab-server late`) sits, which lets each packet go at a time of its own. `servers.rs` runs it.
//! The detour is there only while the relay is, so that nothing is lost at its beginning.

use std::fmt::Write as _;

use anyhow::Result;

use crate::fault::{Fault, MARK, chance};
use crate::netns;
use crate::topology::Topology;

const TABLE: &str = "netlab_late";

/// One relay that should run in the switch's namespace.
pub(crate) struct Relay {
    /// Its name among the lab's processes.
    pub(crate) key: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
}

/// A fault that is known to name a node.
struct Late<'a> {
    node: &'a str,
    port: String,
    percent: u8,
    delay_ms: u128,
}

impl Late<'_> {
    /// Where packets go in, and where the relay takes them out.
    fn pair(&self) -> (String, String) {
        (format!("late-{}", self.node), format!("held-{}", self.node))
    }
}

fn late<'a>(topology: &Topology, faults: &'a [Fault]) -> Vec<Late<'a>> {
    let mut all: Vec<Late<'a>> = Vec::new();
    // Of several at one node, the last counts.
    for fault in faults.iter().rev() {
        let Fault::Reorder { node, percent, delay } = fault else { continue };
        let Ok(found) = topology.node(node) else { continue };
        if all.iter().all(|other| other.node != node) {
            let (port, delay_ms) = (found.switch_port(), delay.as_millis());
            all.push(Late { node, port, percent: *percent, delay_ms });
        }
    }
    all
}

/// The relays that should run.
pub(crate) fn relays(topology: &Topology, faults: &[Fault]) -> Vec<Relay> {
    let relay = |late: Late<'_>| {
        let (_, held) = late.pair();
        let args = vec!["late".to_owned(), held, late.port, late.delay_ms.to_string(), MARK.to_owned()];
        Relay { key: format!("late-{}", late.node), args }
    };
    late(topology, faults).into_iter().map(relay).collect()
}

/// Before relays are stopped and started: ends the detours, and makes the devices that are needed.
pub(crate) fn before(topology: &Topology, faults: &[Fault]) -> Result<()> {
    netns::nft(&topology.underlay_ns, &detours(&[]))?;
    for late in late(topology, faults) {
        let (entry, held) = late.pair();
        let add = format!("link add name {entry} type veth peer name {held}");
        // They may be there from an earlier time.
        netns::ip_forgiving(&topology.underlay_ns, &[add]);
        let up = [entry, held].map(|device| format!("link set {device} addrgenmode none up"));
        netns::ip(&topology.underlay_ns, &up)?;
    }
    Ok(())
}

/// Once all relays run: begins the detours, and removes the devices that no one needs.
pub(crate) fn after(topology: &Topology, faults: &[Fault]) -> Result<()> {
    let wanted = late(topology, faults);
    let needless = topology.nodes.iter().filter(|node| wanted.iter().all(|late| late.node != node.name));
    let needless: Vec<String> = needless.map(|node| format!("link del late-{}", node.name)).collect();
    netns::ip_forgiving(&topology.underlay_ns, &needless);
    netns::nft(&topology.underlay_ns, &detours(&wanted))
}

/// The script that replaces all detours. What the relay lets go bears a mark, or it would be sent round again.
fn detours(all: &[Late<'_>]) -> String {
    let mut text = format!("table netdev {TABLE}\ndelete table netdev {TABLE}\n");
    for late in all {
        let (Late { node, port, .. }, chance, (entry, _)) = (late, chance(late.percent), late.pair());
        _ = write!(
            text,
            "table netdev {TABLE} {{\n  chain {node} {{\n    \
             type filter hook egress device \"{port}\" priority 0; policy accept;\n    \
             meta mark != {MARK} meta protocol {{ ip, ip6 }} {chance}counter fwd to \"{entry}\"\n  }}\n}}\n"
        );
    }
    text
}
