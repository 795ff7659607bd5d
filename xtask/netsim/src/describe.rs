//! A case in words, for a person who looks at one seed.

use std::fmt::Write as _;

use netcheck_causes::Cause;

use crate::case::Case;
use crate::judge::{distinguishing, judge};

/// So many groups with losses are shown.
const SHOWN: usize = 40;

impl Case {
    /// The cluster, the truth, the answer with its judgement, and groups with losses.
    #[must_use]
    pub fn describe(&self, answer: &[Cause]) -> String {
        let mut out = String::new();
        let topology = &self.topology;
        let _ = writeln!(
            out,
            "seed {}: {} nodes, {} zones, {:?}, {} pods, {} services, {} groups",
            self.seed,
            topology.nodes.len(),
            topology.zones.len(),
            topology.pod_network,
            topology.pods.len(),
            topology.services.len(),
            self.groups.len()
        );
        for (at, node) in topology.nodes.iter().enumerate().take(SHOWN) {
            let of = u32::try_from(at).unwrap_or(0);
            let pods: Vec<usize> =
                (0..topology.pods.len()).filter(|&pod| topology.pods[pod].node == of).collect();
            let _ = writeln!(out, "  node {at}: zone {:?}, {:?}, pods {pods:?}", node.zone, node.visibility);
        }
        for (at, service) in topology.services.iter().enumerate() {
            let _ = writeln!(out, "  service {at}: {} {:?}", service.name, service.backends);
        }
        for fault in &self.truth {
            let _ = writeln!(
                out,
                "truth [{}]: {:?} {:?} {:?}, {:?}, rate {}, before {}",
                fault.kind,
                fault.component,
                fault.heading,
                fault.pattern,
                fault.manner,
                fault.rate,
                fault.before
            );
        }
        let judgement = judge(self, answer);
        let _ = writeln!(out, "{judgement:?}");
        for (cause, correct) in answer.iter().zip(&judgement.correct) {
            let _ = writeln!(
                out,
                "answer {}: {:?} {:?} {:?} {:?}, or {:?}; lost {} of {}, explains {}, contradicted by {}",
                if *correct { "right" } else { "FALSE" },
                cause.component,
                cause.heading,
                cause.pattern,
                cause.certainty,
                cause.alternatives,
                cause.lost,
                cause.crossed,
                cause.explains.len(),
                cause.contradictions.len()
            );
        }
        if let Some(distinguishing) = distinguishing(self, answer) {
            let _ = writeln!(out, "distinguished by {distinguishing}");
        }
        for (at, group) in self.groups.iter().enumerate().filter(|(_, group)| group.lost > 0).take(SHOWN) {
            let _ = writeln!(
                out,
                "  group {at}: {:?} -> {:?} {:?}: {} answered, {} lost",
                group.source, group.target, group.class, group.answered, group.lost
            );
            for loss in &group.losses {
                let _ = writeln!(out, "      {} {:?} {:?}", loss.probes, loss.direction, loss.end);
            }
        }
        out
    }
}
