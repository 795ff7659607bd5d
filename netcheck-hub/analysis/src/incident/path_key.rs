//! By what an incident knows its paths again: after the roster gave them other numbers or addresses, and after the hub was
//! started anew. Pure.

use std::net::IpAddr;

use netcheck_common::domain::{Family, Vantage};
use netcheck_common::hash::Fnv1a;

use super::Fact;
use crate::plan::{PlannedPath, Probe};
use crate::words::names::probe_name;

/// A path as people know it: from where to what with what. A hash that is the same in every process and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey(pub u64);

impl PathKey {
    /// The key of a fact's path.
    #[must_use]
    pub fn of_fact(fact: &Fact) -> Self {
        Self::of(&fact.source, &fact.path, fact.large)
    }

    /// The key of a source's path. Its large packets are apart from all others.
    #[must_use]
    pub fn of(source: &str, path: &PlannedPath, large: bool) -> Self {
        let Probe { target, kind, address, port, question, .. } = &path.probe;
        let flags = [
            u8::from(path.vantage == Vantage::Pod),
            u8::from(large),
            u8::from(Family::of(*address) == Family::V6),
        ];
        let mut hash = Fnv1a::default()
            .write(source.as_bytes())
            .write(&[0])
            .write(target.id.as_bytes())
            .write(&flags)
            .write(probe_name(*kind).as_bytes())
            .write(&port.to_be_bytes());
        // A pod that comes back has another address and is the same; one of several addresses is none of the others.
        let alike = target.addresses.iter().filter(|other| Family::of(**other) == Family::of(*address));
        if alike.count() > 1 {
            hash = match address {
                IpAddr::V4(v4) => hash.write(&v4.octets()),
                IpAddr::V6(v6) => hash.write(&v6.octets()),
            };
        }
        if let Some(question) = question {
            hash = hash.write(question.name.as_bytes()).write(&question.record_type.to_be_bytes());
        }
        Self(hash.finish())
    }
}
