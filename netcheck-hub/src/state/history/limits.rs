//! Which packet sizes and source ports of a path pass → history, where that changes. Counts of lost packets are those of
//! the moment.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::ports::Ports;
use netcheck_history::record::Limits;
use netcheck_proto::v1;
use prost::Message as _;

use super::Recording;

/// Distinguishes what stands from what stood; 0: nothing is known.
fn digest(row: &Row) -> u32 {
    let ports = row.ports.as_deref().filter(|ports| !ports.undecided);
    if row.sizes.is_none() && ports.is_none() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    if let Some(sizes) = &row.sizes {
        (sizes.route_bytes, sizes.passed_bytes, sizes.lost_bytes, sizes.icmp_mtu).hash(&mut hasher);
    }
    for (port, ..) in ports.iter().flat_map(|ports| &ports.lost) {
        port.hash(&mut hasher);
    }
    hasher.finish() as u32 | 1
}

/// What is kept of it. When it was measured is when it was recorded.
fn body(row: &Row) -> Vec<u8> {
    let ports = row.ports.as_deref().filter(|ports| !ports.undecided).map(Ports::to_wire);
    let kept = v1::MatrixCell {
        sizes: row.sizes.as_ref().map(|sizes| v1::PacketSizes { measured_at: None, ..sizes.to_wire() }),
        ports: ports.map(|ports| v1::SourcePorts { measured_at: None, ..ports }),
        ..Default::default()
    };
    kept.encode_to_vec()
}

impl Recording {
    /// An agent reported which sizes or ports of a path pass.
    pub(in crate::state) fn limited(&mut self, source: &str, row: &mut Row, now_ns: i64) {
        let Some(archive) = &self.archive else { return };
        let digest = digest(row);
        if row.recorded.limits == digest {
            return;
        }
        let Some(number) = archive.number(source, row) else { return };
        row.recorded.limits = digest;
        let change = (number, if digest == 0 { Vec::new() } else { body(row) });
        match self.limits.last_mut() {
            Some(last) if last.at_ns == now_ns => last.changes.push(change),
            _ => self.limits.push(Limits { at_ns: now_ns, changes: vec![change] }),
        }
    }
}
