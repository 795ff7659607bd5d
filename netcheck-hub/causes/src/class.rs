//! Classes of packets and patterns over them: which patterns the facts allow.

use netcheck_common::domain::{Family, ProbeKind};

use crate::cause::{Carrier, Pattern};
use crate::observation::{Class, Size};

/// A class without its source port: only that it has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Kind {
    pub(crate) kind: ProbeKind,
    pub(crate) family: Family,
    pub(crate) full: bool,
    pub(crate) fresh: bool,
    pub(crate) ported: bool,
}

/// Kinds have lower numbers than this.
pub(crate) const KINDS: usize = 16 * ProbeKind::ALL.len();

/// What a kind of probe runs over.
pub(crate) const fn carrier(kind: ProbeKind) -> Carrier {
    match kind {
        ProbeKind::Icmp => Carrier::Icmp,
        ProbeKind::Udp | ProbeKind::Dns => Carrier::Udp,
        ProbeKind::Tcp | ProbeKind::Http => Carrier::Tcp,
    }
}

impl Kind {
    pub(crate) const fn of(class: &Class) -> Self {
        Self {
            kind: class.kind,
            family: class.family,
            full: matches!(class.size, Size::Full),
            fresh: class.fresh,
            ported: class.source_port.is_some(),
        }
    }

    /// A small number for each.
    pub(crate) const fn number(self) -> usize {
        let flags = self.full as usize | (self.fresh as usize) << 1 | (self.ported as usize) << 2;
        (self.kind as usize) << 4 | flags << 1 | matches!(self.family, Family::V6) as usize
    }
}

/// Kinds that occur, each with a number of its own.
#[derive(Debug)]
pub(crate) struct Kinds {
    numbers: Vec<u16>,
    pub(crate) all: Vec<Kind>,
}

impl Kinds {
    pub(crate) fn new() -> Self {
        Self { numbers: vec![u16::MAX; KINDS], all: Vec::new() }
    }

    pub(crate) fn number(&mut self, kind: Kind) -> u16 {
        let at = &mut self.numbers[kind.number()];
        if *at == u16::MAX {
            *at = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
            self.all.push(kind);
        }
        *at
    }
}

/// Whether a pattern means packets of this kind. What it says of source ports and of chance is not looked at.
pub(crate) fn means(pattern: &Pattern, kind: Kind) -> bool {
    pattern.carrier.is_none_or(|it| it == carrier(kind.kind))
        && pattern.kind.is_none_or(|it| it == kind.kind)
        && pattern.family.is_none_or(|it| it == kind.family)
        && (!pattern.full_size || kind.full)
        && pattern.fresh.is_none_or(|it| it == kind.fresh)
}

/// Each pattern that means this kind, the most general first.
pub(crate) fn patterns(kind: Kind, to: &mut impl FnMut(Pattern)) {
    let none = (None, None);
    let over = Some(carrier(kind.kind));
    let protocols: &[(Option<Carrier>, Option<ProbeKind>)] = &[none, (over, None), (over, Some(kind.kind))];
    for &(carrier, of) in protocols {
        for family in [None, Some(kind.family)] {
            for fresh in [None, Some(kind.fresh)] {
                for full_size in [false, true] {
                    if !full_size || kind.full {
                        let rest = Pattern::default();
                        to(Pattern { carrier, kind: of, family, full_size, fresh, ..rest });
                    }
                }
            }
        }
    }
}

/// Whether all that `narrow` means is meant by `wide`, too.
pub(crate) fn covers(wide: &Pattern, narrow: &Pattern) -> bool {
    let protocol = match (wide.kind, wide.carrier) {
        (Some(kind), _) => narrow.kind == Some(kind),
        (None, Some(over)) => narrow.carrier == Some(over),
        (None, None) => true,
    };
    protocol
        && (wide.family.is_none() || wide.family == narrow.family)
        && (wide.fresh.is_none() || wide.fresh == narrow.fresh)
        && (!wide.full_size || narrow.full_size)
}

/// How much a pattern restricts.
pub(crate) fn restrictions(pattern: &Pattern) -> u32 {
    u32::from(pattern.carrier.is_some())
        + u32::from(pattern.kind.is_some())
        + u32::from(pattern.family.is_some())
        + u32::from(pattern.full_size)
        + u32::from(pattern.fresh.is_some())
}
