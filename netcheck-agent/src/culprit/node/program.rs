//! Programs and filters that drop what passes an interface: XDP, tcx, tc.
//!
//! The kernel reports that one did, not which. Ours are known by their names and never among them. Where there are several,
//! all are named.

use aya::programs::tc::TcAttachType;
use aya::programs::{SchedClassifier, loaded_programs};
use futures::TryStreamExt as _;
use netcheck_proto::shell::word;
use netcheck_proto::v1;
use netlink_packet_route::link::{LinkAttribute, LinkXdp};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{Connection, dump, number};
use crate::culprit::nft::attributes::{Attributes, text};

/// Names of netcheck's own programs begin so.
const OWN: &str = "netcheck_";
/// `RTM_GETTFILTER`.
const GET_FILTER: u16 = 46;
/// `TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `TC_H_MIN_EGRESS`.
const CLSACT: [u32; 2] = [0xffff_fff2, 0xffff_fff3];
/// Programs that are named in one line.
const NAMED: usize = 3;

/// Where a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Xdp,
    Ingress,
    Egress,
}

/// One that is attached there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attached {
    /// What it is: `tcx program`, `tc filter flower`.
    what: String,
    /// Of a program: its id.
    id: Option<u32>,
    name: String,
}

/// A `struct tcmsg` for a question about one interface.
pub(super) fn traffic_message(index: u32, parent: u32) -> Vec<u8> {
    [0, index, 0, parent, 0].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// What is attached to this hook and is not netcheck's.
pub(super) async fn find(hook: Hook, interface: &str, index: u32) -> Option<v1::Culprit> {
    let mut all = Vec::new();
    if hook == Hook::Xdp {
        for id in xdp(index).await.unwrap_or_default() {
            let name = name_of(id).unwrap_or_default();
            all.push(Attached { what: "XDP program".to_owned(), id: Some(id), name });
        }
    } else {
        let (kind, parent) = match hook {
            Hook::Egress => (TcAttachType::Egress, CLSACT[1]),
            Hook::Xdp | Hook::Ingress => (TcAttachType::Ingress, CLSACT[0]),
        };
        if let Ok((_, programs)) = SchedClassifier::query_tcx(interface, kind) {
            all.extend(programs.iter().map(|program| Attached {
                what: "tcx program".to_owned(),
                id: Some(program.id()),
                name: program.name_as_str().unwrap_or_default().to_owned(),
            }));
        }
        let filters = dump(NETLINK_ROUTE, GET_FILTER, &traffic_message(index, parent)).await;
        all.extend(filters.unwrap_or_default().iter().filter_map(|message| filter(message, index)));
    }
    all.retain(|one| !one.name.starts_with(OWN));
    all.dedup();
    culprit(hook, interface, &all)
}

/// Ids of the XDP programs of an interface.
async fn xdp(index: u32) -> Option<Vec<u32>> {
    let connection = Connection::open()?;
    let mut links = std::pin::pin!(connection.handle.link().get().match_index(index).execute());
    let link = links.try_next().await.ok()??;
    let of = |attribute: &LinkAttribute| match attribute {
        LinkAttribute::Xdp(all) => all
            .iter()
            .filter_map(|one| match one {
                LinkXdp::ProgId(id)
                | LinkXdp::DrvProgId(id)
                | LinkXdp::SkbProgId(id)
                | LinkXdp::HwProgId(id) => Some(*id).filter(|id| *id != 0),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let mut ids: Vec<u32> = link.attributes.iter().flat_map(of).collect();
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

fn name_of(id: u32) -> Option<String> {
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    found.name_as_str().map(ToOwned::to_owned)
}

/// A classic filter, as RTM_NEWTFILTER reports it.
fn filter(message: &[u8], index: u32) -> Option<Attached> {
    if number(message, 4)? != index || number(message, 8)? == 0 {
        return None;
    }
    let priority = number(message, 16)? >> 16;
    let attributes = Attributes::new(message.get(20..)?);
    let kind = text(attributes.get(1)?);
    if kind != "bpf" {
        return Some(Attached {
            what: format!("tc filter {kind}"),
            id: None,
            name: format!("pref {priority}"),
        });
    }
    // TCA_BPF_NAME and TCA_BPF_ID.
    let options = attributes.nested(2)?;
    let id = options.get(11).and_then(|value| number(value, 0));
    // tc gives its own name, `object.o:[section]`; the program's is what distinguishes ours from others'.
    let name = id.and_then(name_of).or_else(|| options.text(7)).unwrap_or_default();
    Some(Attached { what: format!("tc program (pref {priority})"), id, name })
}

fn culprit(hook: Hook, interface: &str, all: &[Attached]) -> Option<v1::Culprit> {
    let way = if hook == Hook::Egress { "egress" } else { "ingress" };
    let named = |one: &Attached| {
        let id = one.id.map(|id| format!(" (id {id})")).unwrap_or_default();
        let name = if one.name.is_empty() { "without a name" } else { &one.name };
        format!("{} {name}{id}", one.what)
    };
    let first = all.first()?;
    let names: Vec<String> = all.iter().take(NAMED).map(named).collect();
    let (object, text) = if all.len() == 1 {
        (
            format!("{} at {way} of {interface}", names[0]),
            "the only one there besides netcheck's own".to_owned(),
        )
    } else {
        let one = format!("one of {} programs and filters at {way} of {interface}", all.len());
        (one, names.join("; "))
    };
    let device = word(interface);
    let see = match first.id {
        Some(id) => format!("bpftool net show dev {device}; bpftool prog show id {id}"),
        None => format!("tc -s filter show dev {device} {way}"),
    };
    Some(v1::Culprit {
        kind: v1::CulpritKind::Program.into(),
        object,
        text,
        see,
        mend: "whoever loaded it decides what it drops: a CNI's policy, a firewall, a test; its name says it"
            .to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::node::tests::pasteable;

    fn attached(what: &str, id: Option<u32>, name: &str) -> Attached {
        Attached { what: what.to_owned(), id, name: name.to_owned() }
    }

    #[test]
    fn one_is_named_and_of_several_all_are_reported() {
        let one = attached("tcx program", Some(7), "drop_all");
        let found = culprit(Hook::Egress, "eth0", std::slice::from_ref(&one)).unwrap();
        assert_eq!(found.object, "tcx program drop_all (id 7) at egress of eth0");
        assert!(found.see.contains("bpftool prog show id 7"));
        pasteable(&found);
        let classic = attached("tc filter flower", None, "pref 1");
        pasteable(&culprit(Hook::Egress, "eth0", std::slice::from_ref(&classic)).unwrap());
        let other = attached("tc filter flower", None, "pref 1");
        let found = culprit(Hook::Ingress, "eth0", &[one, other]).unwrap();
        assert_eq!(found.object, "one of 2 programs and filters at ingress of eth0");
        assert_eq!(found.text, "tcx program drop_all (id 7); tc filter flower pref 1");
        assert_eq!(culprit(Hook::Xdp, "eth0", &[]), None);
    }

    #[test]
    fn classic_filters_are_read_from_what_the_kernel_sends() {
        let mut message: Vec<u8> =
            [0u32, 9, 1, 0xffff_fff2, 5 << 16].iter().flat_map(|word| word.to_ne_bytes()).collect();
        message.extend([13u16.to_ne_bytes(), 1u16.to_ne_bytes()].concat());
        message.extend(b"matchall\0\0\0\0");
        assert_eq!(filter(&message, 9), Some(attached("tc filter matchall", None, "pref 5")));
        assert_eq!(filter(&message, 8), None);
        assert_eq!(filter(&message[..10], 9), None);
    }
}
