//! From where a load balancer takes traffic: `loadBalancerSourceRanges` of its service. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What was written before there was a field, with commas between; it counts where the field is empty.
const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRange {
    address: IpAddr,
    /// How many bits, at most those of the family.
    bits: u8,
}

impl SourceRange {
    /// Reads `10.0.0.0/8`.
    fn of(text: &str) -> Option<Self> {
        let (address, bits) = text.trim().split_once('/')?;
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Self { address, bits })
    }

    /// Whether an address is one of them.
    #[must_use]
    pub const fn contains(&self, address: IpAddr) -> bool {
        // Bits that are left after those that count are shifted out; all of them where none counts.
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let differ = range.to_bits() ^ address.to_bits();
                self.bits == 0 || differ >> (32 - self.bits) == 0
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let differ = range.to_bits() ^ address.to_bits();
                self.bits == 0 || differ >> (128 - self.bits) == 0
            }
            _ => false,
        }
    }
}

/// The ranges of a service. What is none counts for nothing, as load balancers have it.
pub(super) fn sources(meta: &ObjectMeta, spec: &ServiceSpec) -> Vec<SourceRange> {
    let field = spec.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty());
    let noted = || {
        let note = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        note.map_or("", String::as_str).split(',').filter_map(SourceRange::of).collect()
    };
    field.map_or_else(noted, |ranges| ranges.iter().filter_map(|range| SourceRange::of(range)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_the_addresses_that_begin_as_it_does(network: u32, bits in 0u8..=32, address: u32) {
            let text = format!("{}/{bits}", std::net::Ipv4Addr::from(network));
            let range = SourceRange::of(&text).unwrap();
            let binary = |number: u32| format!("{number:032b}")[..usize::from(bits)].to_owned();
            let expected = binary(network) == binary(address);
            prop_assert_eq!(range.contains(IpAddr::V4(address.into())), expected);
            prop_assert!(range.contains(IpAddr::V4(network.into())));
            let mapped = format!("{}/{}", std::net::Ipv6Addr::from(u128::from(network)), bits + 96);
            let range = SourceRange::of(&mapped).unwrap();
            prop_assert_eq!(range.contains(IpAddr::V6(u128::from(address).into())), expected);
            prop_assert!(!range.contains(IpAddr::V4(network.into())));
        }
    }

    #[test]
    fn what_is_no_range_counts_for_nothing() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "all/0", "10.0.0.0/-1"] {
            assert_eq!(SourceRange::of(text), None, "{text}");
        }
        assert!(SourceRange::of(" ::/0 ").unwrap().contains("2001:db8::1".parse().unwrap()));
    }
}
