//! What is lost for its size, its source port, or for being a new flow or an old one, in words. Pure.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::ports::PortLosses;

/// Ports that are named in one line.
const NAMED: usize = 4;

/// What is lost on paths with these borders (the largest size that passes, the smallest that does not), in words:
/// `packets above 1400 bytes`; as long as no border is found, `packets of 1500 bytes`. None without any path.
#[must_use]
pub fn sizes_lost(borders: &[(u16, u16)]) -> Option<String> {
    let found =
        borders.iter().filter(|(passed, lost)| lost.saturating_sub(*passed) <= 1).map(|&(passed, _)| passed);
    let span = |least: u16, most: u16| {
        if least == most { format!("{least}") } else { format!("{least} to {most}") }
    };
    if let Some((least, most)) = found.clone().min().zip(found.max()) {
        return Some(format!("packets above {} bytes", span(least, most)));
    }
    let tried = borders.iter().map(|&(_, lost)| lost);
    let (least, most) = tried.clone().min().zip(tried.max())?;
    Some(format!("packets of {} bytes", span(least, most)))
}

/// How new flows of some paths fare where they fare otherwise than old ones; of each: new ones are denied, or nothing is
/// known. None where the paths differ, or where fewer than half say so: old flows that came up lately are as new as the
/// others.
#[must_use]
pub fn flows_differ(new_denied: &[Option<bool>]) -> Option<FlowsFare> {
    let known: BTreeSet<bool> = new_denied.iter().copied().flatten().collect();
    let most = new_denied.iter().flatten().count() * 2 >= new_denied.len();
    let denied = known.first().filter(|_| known.len() == 1 && most)?;
    Some(if *denied {
        FlowsFare { which: "new connections", fare: "are denied, old ones go on" }
    } else {
        FlowsFare { which: "old connections", fare: "are lost, new ones go on" }
    })
}

/// Which flows are lost where others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowsFare {
    /// `new connections`.
    pub which: &'static str,
    /// `are denied, old ones go on`.
    pub fare: &'static str,
}

impl fmt::Display for FlowsFare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.which, self.fare)
    }
}

/// `61007`, `61007 and 61015`; of many the first.
pub(crate) fn port_names(ports: impl Iterator<Item = u16>) -> String {
    let all: BTreeSet<u16> = ports.collect();
    let mut named: Vec<String> = all.iter().take(NAMED).map(u16::to_string).collect();
    if all.len() > NAMED {
        named.push(format!("{} more", all.len() - NAMED));
    }
    match named.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// What these paths have in common: `2 of 8 source ports lose everything, the others nothing`. None without any path.
#[must_use]
pub fn ports_shared(paths: &[PortLosses]) -> Option<String> {
    let span = |values: &mut dyn Iterator<Item = u32>| {
        let all: BTreeSet<u32> = values.collect();
        let (least, most) = all.first().zip(all.last())?;
        Some(if least == most { format!("{least}") } else { format!("{least} to {most}") })
    };
    let lost = span(&mut paths.iter().map(|of| of.lost.len() as u32))?;
    let ports = span(&mut paths.iter().map(|of| of.ports))?;
    let every = || paths.iter().flat_map(|of| &of.lost);
    let (sent, packets) =
        every().fold((0u64, 0u64), |sum, of| (sum.0 + u64::from(of.1), sum.1 + u64::from(of.2)));
    let verb = if lost == "1" { "loses" } else { "lose" };
    let how = match (packets * 100).checked_div(sent) {
        None | Some(100) => "everything".to_owned(),
        Some(percent) => format!("{percent} % of their packets"),
    };
    let others: u32 = paths.iter().map(|of| of.others.1).max()?;
    let others = if others == 0 { "nothing" } else { "hardly any" };
    Some(format!("{lost} of {ports} source ports {verb} {how}, the others {others}"))
}

/// `, lost ports 61007 and 61015`.
#[must_use]
pub fn ports_named(paths: &[PortLosses]) -> String {
    let ports = || paths.iter().flat_map(|of| &of.lost).map(|of| of.0);
    let word = if ports().collect::<BTreeSet<u16>>().len() == 1 { "port" } else { "ports" };
    format!(", lost {word} {}", port_names(ports()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        for (borders, expected) in [
            (&[(1400, 1401)][..], "packets above 1400 bytes"),
            (&[(1400, 1401), (1372, 1373), (92, 1500)], "packets above 1372 to 1400 bytes"),
            (&[(92, 1500), (92, 1450)], "packets of 1450 to 1500 bytes"),
        ] {
            assert_eq!(sizes_lost(borders).as_deref(), Some(expected));
        }
        assert_eq!(sizes_lost(&[]), None);
        let (new, old) = (Some(true), Some(false));
        for (new_flows, denied) in [
            (&[new, new, None][..], Some("new connections")),
            (&[old], Some("old connections")),
            (&[new, None, None], None),
            (&[new, old], None),
            (&[], None),
        ] {
            assert_eq!(flows_differ(new_flows).map(|how| how.which), denied, "{new_flows:?}");
        }
    }
}
