//! Containers on a CNI bridge of their own: podman and runc, with nothing shared with the machine's other containers.
//! What it starts it removes, also when it fails.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{home, storage};
use crate::{
    chart::list,
    tools::{command, output},
};

/// The bridge's name on this machine.
const BRIDGE: &str = "nc-image0";
/// Of the range for benchmarks (RFC 2544), which nobody routes.
const SUBNET: &str = "198.18.77.0/24";
const NETWORK: &str = "netcheck-image";

/// How to run a container.
pub(super) enum Network {
    /// On the bridge, at this place in the subnet.
    Bridge(u8),
    /// With loopback alone.
    None,
}

/// Its containers are removed with it, and its bridge.
pub(super) struct Podman {
    image: String,
    config: PathBuf,
}

impl Podman {
    /// Writes configuration and network.
    pub(super) fn begin(image: &str) -> Result<Self> {
        let networks = home().join("networks");
        fs::create_dir_all(&networks)?;
        let bridge = json!({
            "cniVersion": "0.4.0", "name": NETWORK, "plugins": [{
                "type": "bridge", "bridge": BRIDGE, "capabilities": {"ips": true},
                "ipam": {"type": "host-local", "dataDir": home().join("addresses"), "ranges": [[{"subnet": SUBNET}]]},
            }],
        });
        fs::write(networks.join(format!("{NETWORK}.conflist")), bridge.to_string())?;
        let config = home().join("containers.conf");
        let text = format!(
            "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=1000:1000\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\nevents_logger = \"none\"\n\
             [network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [\"/usr/lib/cni\"]\nnetwork_config_dir = {networks:?}\n"
        );
        fs::write(&config, text)?;
        let podman = Self { image: image.to_owned(), config };
        podman.clean();
        Ok(podman)
    }

    /// The address at this place in the subnet.
    pub(super) fn address(place: u8) -> String {
        SUBNET.replace("0/24", &place.to_string())
    }

    /// Starts a container with these rights (podman's flags).
    pub(super) fn start(
        &self,
        name: &str,
        network: &Network,
        rights: &[String],
        words: &[&str],
    ) -> Result<()> {
        let mut podman = self.podman(&["run", "--detach", "--name", name]);
        match network {
            Network::Bridge(place) => podman.args(["--network", NETWORK, "--ip", &Self::address(*place)]),
            Network::None => podman.args(["--network", "none"]),
        };
        output(podman.args(rights).arg(&self.image).args(words))?;
        Ok(())
    }

    /// What a container has said so far.
    pub(super) fn said(&self, name: &str) -> Result<String> {
        let output = self.podman(&["logs", name]).output().context("can't run podman")?;
        Ok([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
    }

    /// Whether a container runs.
    pub(super) fn runs(&self, name: &str) -> Result<bool> {
        Ok(output(&mut self.podman(&["inspect", "--format", "{{.State.Running}}", name]))? == "true")
    }

    /// Runs a program in a container; what it wrote, and its exit code.
    pub(super) fn exec(&self, name: &str, words: &[&str]) -> Result<(String, Option<i32>)> {
        let output = self.podman(&["exec", name]).args(words).output().context("can't run podman")?;
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code()))
    }

    /// Runs a program of this machine's in a container's network namespace.
    pub(super) fn in_network(&self, name: &str, words: &[&str]) -> Result<()> {
        let pid = output(&mut self.podman(&["inspect", "--format", "{{.State.Pid}}", name]))?;
        output(command("nsenter").arg(format!("--net=/proc/{pid}/ns/net")).args(words)).map(drop)
    }

    /// Stops a container as a node would, and returns its exit code.
    pub(super) fn stop(&self, name: &str) -> Result<i64> {
        output(&mut self.podman(&["stop", "--time", "15", name]))?;
        let code = output(&mut self.podman(&["inspect", "--format", "{{.State.ExitCode}}", name]))?;
        code.parse().with_context(|| format!("{name} ended with `{code}`"))
    }

    /// Removes a container.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        output(&mut self.podman(&["rm", "--force", "--time", "5", name])).map(drop)
    }

    fn podman(&self, words: &[&str]) -> Command {
        let mut podman = command("podman");
        podman.args(storage()).args(words).env("CONTAINERS_CONF", &self.config);
        podman
    }

    fn clean(&self) {
        // What isn't there can't be removed.
        let _ = output(&mut self.podman(&["rm", "--all", "--force", "--time", "5"]));
        let _ = output(command("ip").args(["link", "delete", BRIDGE]));
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.clean();
    }
}

/// The rights that the chart gives a container, as podman's flags. `without`: a capability that is left out.
pub(super) fn rights(pod: &Value, container: &Value, without: Option<&str>) -> Result<Vec<String>> {
    let (own, shared) = (&container["securityContext"], &pod["securityContext"]);
    let number = |key: &str| own[key].as_u64().or(shared[key].as_u64()).with_context(|| format!("no {key}"));
    let mut flags = vec![format!("--user={}:{}", number("runAsUser")?, number("runAsGroup")?)];
    if own["readOnlyRootFilesystem"] != json!(true) || own["allowPrivilegeEscalation"] != json!(false) {
        bail!("the chart gives it more than it needs: {own}");
    }
    // podman would put a writable /tmp and more on top.
    flags.extend(
        ["--read-only", "--read-only-tmpfs=false", "--security-opt=no-new-privileges"].map(str::to_owned),
    );
    let capabilities = |key: &str| list(&own["capabilities"][key]).iter().filter_map(Value::as_str);
    flags.extend(capabilities("drop").map(|capability| format!("--cap-drop={capability}")));
    let added = capabilities("add").filter(|capability| Some(*capability) != without);
    flags.extend(added.map(|capability| format!("--cap-add={capability}")));
    Ok(flags)
}
