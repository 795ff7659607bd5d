use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::*;
use crate::probe::exchange;

#[test]
fn without_raw_sockets_the_capability_is_named_and_the_rest_works() {
    // Capabilities are a thread's own.
    let missing = std::thread::spawn(|| {
        let effective = capabilities(None).unwrap().effective - CapabilitySet::NET_RAW;
        let inheritable = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective, permitted: effective, inheritable }).unwrap();
        Probers::open(7, exchange::open().0).unwrap().missing().to_vec()
    });
    let missing = missing.join().unwrap();
    let kinds: Vec<_> = missing.iter().map(|missing| (missing.kind, missing.family)).collect();
    assert_eq!(kinds, [(ProbeKind::Icmp, Family::V4), (ProbeKind::Icmp, Family::V6)]);
    for missing in missing {
        assert!(missing.why.ends_with("capability CAP_NET_RAW is missing"), "{missing:?}");
    }
}
