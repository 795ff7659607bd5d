//! The words of a check between two clusters.

use std::path::PathBuf;

use clap::Args;

use crate::connect::{self, HubUrl};

/// Both clusters, where there are two.
#[derive(Debug, Args)]
#[command(next_help_heading = "Two clusters")]
pub(crate) struct ClusterArgs {
    /// Check between two clusters: the kubeconfig's context of the first. Pods and nodes of each are probed from each,
    /// services and Ingresses of the second from the first. Both hubs need --peer-targets, and agents an --allow-cidr.
    #[arg(long, value_name = "NAME")]
    src_context: Option<String>,
    /// The context of the second.
    #[arg(long, value_name = "NAME")]
    dst_context: Option<String>,
    /// The kubeconfig of the first [default: that of --kubeconfig].
    #[arg(long, value_name = "PATH")]
    src_kubeconfig: Option<PathBuf>,
    /// The kubeconfig of the second [default: that of --kubeconfig].
    #[arg(long, value_name = "PATH")]
    dst_kubeconfig: Option<PathBuf>,
    /// The first cluster's hub, where it is reached without a kubeconfig; --src-context is then what it is called.
    #[arg(long, value_name = "URL", value_parser = connect::endpoint)]
    src_hub: Option<HubUrl>,
    /// The second cluster's hub.
    #[arg(long, value_name = "URL", value_parser = connect::endpoint)]
    dst_hub: Option<HubUrl>,
}

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    pub(crate) context: Option<String>,
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) hub: Option<HubUrl>,
}

impl Side {
    const fn is_named(&self) -> bool {
        self.context.is_some() || self.kubeconfig.is_some() || self.hub.is_some()
    }
}

impl ClusterArgs {
    /// Both, or none where it is one cluster that is checked.
    ///
    /// # Errors
    /// Only one of them is named.
    pub(crate) fn sides(&self) -> anyhow::Result<Option<[Side; 2]>> {
        let src = Side {
            context: self.src_context.clone(),
            kubeconfig: self.src_kubeconfig.clone(),
            hub: self.src_hub.clone(),
        };
        let dst = Side {
            context: self.dst_context.clone(),
            kubeconfig: self.dst_kubeconfig.clone(),
            hub: self.dst_hub.clone(),
        };
        match (src.is_named(), dst.is_named()) {
            (false, false) => Ok(None),
            (true, true) => Ok(Some([src, dst])),
            (true, false) => {
                anyhow::bail!("a check between two clusters needs the second one: say --dst-context")
            }
            (false, true) => {
                anyhow::bail!("a check between two clusters needs the first one: say --src-context")
            }
        }
    }
}
