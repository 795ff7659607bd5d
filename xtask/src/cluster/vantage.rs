//! The vantages of a cluster whose lab has pods for them.

use anyhow::{Context as _, Result, ensure};

use super::{Cluster, GRACE, built};

/// For setpriv(1): what the chart's security context leaves a vantage.
const UNPRIVILEGED: &[&str] = &[
    "--reuid=65532",
    "--regid=65532",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
    "--pdeathsig=keep",
];

impl Cluster {
    /// Starts the vantage of a node, as the chart runs it: without any capability, as a user of its own. Nothing where
    /// the lab has no pod for it.
    ///
    /// # Errors
    /// If it is not built.
    pub fn start_vantage(&mut self, node: &str) -> Result<()> {
        let (Some(pod), Some(socket)) = (self.lab.topology().vantage(node), self.vantage_socket(node)?)
        else {
            return Ok(());
        };
        let binary = built("netcheck-agent", self.settings.profile)?;
        let binary = binary.to_str().context("a path that is text")?;
        let full = format!("{}/{}", pod.namespace, pod.name);
        let mut args: Vec<&str> = UNPRIVILEGED.to_vec();
        args.extend([binary, "vantage", "--vantage-socket", &socket, "--node", node, "--pod", &full]);
        // How names are looked up there is the test's to say, as on the nodes.
        let resolver = self.settings.agent_args.iter().filter(|arg| arg.starts_with("--resolv-conf="));
        args.extend(resolver.map(String::as_str));
        let vantage = self.lab.spawn_in(&pod.name, "setpriv", &args, &[], &vantage_log(node))?;
        self.vantages.insert(node.to_owned(), vantage);
        Ok(())
    }

    /// SIGKILL for the vantage of a node.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_vantage(&mut self, node: &str) -> Result<()> {
        let vantage = self.vantages.get_mut(node).with_context(|| format!("no vantage runs on {node}"))?;
        vantage.kill()?;
        self.vantages.remove(node);
        Ok(())
    }

    /// SIGTERM for the vantage of a node, as an upgrade does.
    ///
    /// # Errors
    /// If there is none, or it did not end in order.
    pub fn stop_vantage(&mut self, node: &str) -> Result<()> {
        let vantage = self.vantages.get_mut(node).with_context(|| format!("no vantage runs on {node}"))?;
        let status = vantage.stop(GRACE)?;
        self.vantages.remove(node);
        ensure!(status.success(), "the vantage of {node}: {status}: {}", self.last_line(&vantage_log(node)));
        Ok(())
    }

    /// Where the agent of a node listens for its vantage, where there is to be one.
    pub(super) fn vantage_socket(&self, node: &str) -> Result<Option<String>> {
        let Some(pod) = self.lab.topology().vantage(node) else { return Ok(None) };
        let directory = self.lab.log_path(&pod.name).with_extension("run");
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        Ok(Some(format!("{}/vantage.sock", directory.display())))
    }

    /// Whether something is measured from each vantage that runs.
    #[must_use]
    pub fn has_all_vantages(&self) -> bool {
        let cells = if self.vantages.is_empty() { Vec::new() } else { self.cells().unwrap_or_default() };
        let measured = |node: &String| cells.iter().any(|cell| cell.vantage == "pod" && cell.source == *node);
        self.vantages.keys().all(measured)
    }
}

pub(super) fn vantage_log(node: &str) -> String {
    format!("vantage-{node}")
}
