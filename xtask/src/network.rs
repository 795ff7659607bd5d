//! Which network a run's lab has, as the command line names it: `vxlan`, `routed+kube-proxy-nftables`,
//! `vxlan+kube-proxy-iptables+cni`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use netcheck_netlab::{LabSpec, Mode, Proxy};

/// How pods reach each other, who translates services, and who attaches the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) mode: Mode,
    pub(crate) proxy: Proxy,
    pub(crate) cni_plugins: bool,
}

impl Network {
    /// The lab's own rules and wiring.
    pub(crate) const fn plain(mode: Mode) -> Self {
        Self { mode, proxy: Proxy::Plain, cni_plugins: false }
    }

    /// The default lab with this network.
    pub(crate) fn spec(self, name: &str) -> LabSpec {
        let Self { mode, proxy, cni_plugins } = self;
        LabSpec { mode, proxy, cni_plugins, ..LabSpec::named(name) }
    }

    /// For the names of labs, which are short.
    pub(crate) fn short(self) -> String {
        let proxy = match self.proxy {
            Proxy::Plain => "",
            Proxy::KubeProxyIptables => "-ipt",
            Proxy::KubeProxyNftables => "-nft",
        };
        format!("{}{proxy}{}", self.mode, if self.cni_plugins { "-cni" } else { "" })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.mode)?;
        if self.proxy != Proxy::Plain {
            write!(f, "+{}", self.proxy)?;
        }
        f.write_str(if self.cni_plugins { "+cni" } else { "" })
    }
}

impl FromStr for Network {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split('+');
        let mut network = Self::plain(words.next().unwrap_or_default().parse()?);
        for word in words {
            match word {
                "cni" if !network.cni_plugins => network.cni_plugins = true,
                _ if network.proxy == Proxy::Plain => {
                    network.proxy = word.parse().context("`cni`, or who translates services")?;
                }
                _ => bail!("`{text}` says twice who attaches pods or translates services"),
            }
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn text_and_value_are_the_same() {
        let texts =
            ["vxlan", "routed", "routed+kube-proxy-nftables", "vxlan+kube-proxy-iptables+cni", "vxlan+cni"];
        for text in texts {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
            assert!(network.spec(&format!("bat-{}", network.short())).check().is_ok(), "{text}");
        }
        for wrong in
            ["", "ipip", "vxlan+ipvs", "vxlan+cni+cni", "vxlan+kube-proxy-iptables+kube-proxy-nftables"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
