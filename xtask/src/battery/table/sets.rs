//! The sets of rows that can be run, and in which networks.

use netcheck_netlab::{Mode, Proxy};

use super::{ROWS, Row, by_hand, culprits, day_two, field, kube_proxy, new, reported};
use crate::network::Network;

/// The tables there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowSet {
    /// What must be right before a change is taken.
    Default,
    /// Faults behind services, under kube-proxy's own rules.
    KubeProxy,
    /// What is not yet described as it should be.
    New,
    /// Faults whose object must be named.
    Culprits,
    /// Faults that one command makes.
    ByHand,
    /// Faults as operators meet them: on several nodes, in several layers, two at once.
    Field,
    /// What people report of their clusters: leftovers of other programs, settings of bridges and pods.
    Reported,
    /// What upgrades, VPNs, restarted network managers and other firewalls leave behind.
    DayTwo,
}

impl RowSet {
    /// By its name on the command line; the default one has none.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "kube-proxy" => Some(Self::KubeProxy),
            "new" => Some(Self::New),
            "culprits" => Some(Self::Culprits),
            "by-hand" => Some(Self::ByHand),
            "field" => Some(Self::Field),
            "reported" => Some(Self::Reported),
            "day-two" => Some(Self::DayTwo),
            _ => None,
        }
    }

    pub(crate) fn rows(self) -> &'static [Row] {
        match self {
            Self::Default => ROWS,
            Self::KubeProxy => kube_proxy::ROWS,
            Self::New => new::ROWS,
            Self::Culprits => culprits::ROWS,
            Self::ByHand => by_hand::ROWS,
            Self::Field => field::ROWS,
            Self::Reported => reported::ROWS,
            Self::DayTwo => day_two::ROWS,
        }
    }

    /// Where it is run unless the command line says something else.
    pub(crate) fn networks(self) -> Vec<Network> {
        if self == Self::Default {
            return vec![Network::plain(Mode::Routed), Network::plain(Mode::Vxlan)];
        }
        vec![
            Network { mode: Mode::Routed, proxy: Proxy::KubeProxyNftables, cni_plugins: false },
            Network { mode: Mode::Vxlan, proxy: Proxy::KubeProxyIptables, cni_plugins: true },
        ]
    }

    /// Whether something is probed from pods, too.
    pub(crate) fn has_vantages(self) -> bool {
        matches!(self, Self::New | Self::Field | Self::Reported | Self::DayTwo)
    }
}
