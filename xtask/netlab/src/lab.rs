//! A running lab: raised, used, broken, mended, torn down.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::fault::{self, Fault};
use crate::process::{self, Process, find};
use crate::servers::Servers;
use crate::spec::{LabSpec, Lifetime, Proxy};
use crate::state::{LabLock, Record, StateDir, write_atomically};
use crate::topology::{NETNS_PREFIX, Node, Pod, Topology, netns_prefix};
use crate::{cni, inventory, netns, service, wiring};

/// Programs that a lab runs, all of which `cargo xtask setup` installs.
const TOOLS: &[(&str, &str)] =
    &[("ip", "iproute2"), ("bridge", "iproute2"), ("nft", "nftables"), ("unbound", "unbound")];

/// A lab that is up.
///
/// Dropping it tears it down if its [`Lifetime`] is `Driver` and this value raised it.
#[derive(Debug)]
pub struct Lab {
    spec: LabSpec,
    topology: Topology,
    dir: StateDir,
    servers: Mutex<Servers>,
    /// Held by the driver that raised the lab.
    lock: Option<LabLock>,
}

impl Lab {
    /// Raises a lab, after it has removed whatever is left of an earlier one of that name. On return, all
    /// addresses work, all servers listen and the inventory is written.
    ///
    /// # Errors
    /// If the spec is out of bounds, this is not root, a tool is missing, the name is in use by a living
    /// driver, or the kernel refuses something. Nothing is left behind then.
    pub fn up(spec: LabSpec) -> Result<Self> {
        spec.check()?;
        check_machine()?;
        check_tools(optional_tools(&spec))?;
        let dir = StateDir::new(&spec.name)?;
        let lock = dir.lock().with_context(|| format!("lab `{}`", spec.name))?;
        remove(&spec.name, &dir)?;

        dir.create()?;
        let mut record = Record { spec: spec.clone(), driver: std::process::id(), complete: false };
        dir.write_record(&record)?;
        let topology = Topology::new(&spec);
        let dies_with_driver = spec.lifetime == Lifetime::Driver;
        let servers = Mutex::new(Servers::new(dir.clone(), dies_with_driver));
        let lab = Self { spec, topology, dir, servers, lock: Some(lock) };
        let raised = lab.raise().and_then(|()| {
            record.complete = true;
            lab.dir.write_record(&record)
        });
        match raised {
            Ok(()) => Ok(lab),
            Err(error) => {
                let name = lab.spec.name.clone();
                // The error that matters is the first one; what cleaning up left is cleaned up next time.
                _ = lab.down();
                Err(error).with_context(|| format!("raising lab `{name}`"))
            }
        }
    }

    fn raise(&self) -> Result<()> {
        wiring::wire(&self.topology, self.dir.path())?;
        let nameservers: String = self
            .topology
            .service("kube-dns")?
            .cluster_ips
            .map(|(v4, v6)| format!("nameserver {v4}\nnameserver {v6}\n"))
            .unwrap_or_default();
        let search = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
        write_atomically(&self.resolv_conf(), format!("{search}{nameservers}").as_bytes())?;
        self.align(&[])
    }

    /// Takes hold of a lab that is up, without becoming its driver.
    ///
    /// # Errors
    /// If there is none of that name, or it never came up.
    pub fn attach(name: &str) -> Result<Self> {
        check_machine()?;
        let dir = StateDir::new(name)?;
        let record = dir.record()?.filter(|record| record.complete);
        let record = record.with_context(|| format!("no lab `{name}` is up (`cargo xtask lab list`)"))?;
        let topology = Topology::new(&record.spec);
        let servers = Mutex::new(Servers::new(dir.clone(), false));
        Ok(Self { spec: record.spec, topology, dir, servers, lock: None })
    }

    /// Removes every trace of a lab, however it ended: processes, namespaces, state.
    ///
    /// # Errors
    /// If a living driver holds it, this is not root, or something cannot be removed.
    pub fn remove(name: &str) -> Result<()> {
        check_root()?;
        let dir = StateDir::new(name)?;
        let _lock = dir.lock().with_context(|| format!("lab `{name}`"))?;
        remove(name, &dir)
    }

    /// Names of all labs on this machine, up or left over.
    ///
    /// # Errors
    /// If the state folder cannot be read.
    pub fn list() -> Result<Vec<String>> {
        let mut names = StateDir::names()?;
        // Namespaces without state are left only if somebody deleted the state by hand.
        let spaces = netns::list(NETNS_PREFIX)?;
        names.extend(spaces.iter().filter_map(|ns| Some(ns.split('.').nth(1)?.to_owned())));
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Tears the lab down.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn down(mut self) -> Result<()> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<()> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => self.dir.lock().with_context(|| format!("lab `{}`", self.spec.name))?,
        };
        let removed = remove(&self.spec.name, &self.dir);
        self.servers().reap();
        drop(lock);
        removed
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// All names and addresses.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.topology.nodes
    }

    /// A node by its name.
    ///
    /// # Errors
    /// Names the nodes there are.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.topology.node(name)
    }

    /// A pod by its name.
    ///
    /// # Errors
    /// Names the pods there are.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.topology.pod(name)
    }

    /// Network namespace of the hub; its addresses are in [`Lab::topology`].
    #[must_use]
    pub fn hub_ns(&self) -> &str {
        &self.topology.hub_ns
    }

    /// The inventory file; replaced as a whole whenever a fault changes it.
    #[must_use]
    pub fn inventory_path(&self) -> PathBuf {
        self.dir.path().join("inventory.json")
    }

    /// Folder for whatever a driver wants to keep as long as the lab lives.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Path of a log file of this lab.
    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.dir.log(name)
    }

    fn resolv_conf(&self) -> PathBuf {
        self.dir.path().join("resolv.conf")
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        // What a panic elsewhere left is still a list of processes.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command that will run inside a namespace (short or full name). It sees the namespace's own `/sys`
    /// and, in a pod, the cluster's `/etc/resolv.conf`.
    ///
    /// # Errors
    /// If there is no such namespace.
    pub fn command(&self, ns: &str, program: impl AsRef<OsStr>) -> Result<Command> {
        let netns = self.topology.netns(ns)?;
        let resolv_conf = self.resolv_conf();
        let in_pod = self.topology.pods().any(|pod| pod.netns == netns);
        process::command(&netns, program.as_ref(), in_pod.then_some(&resolv_conf))
    }

    /// Runs a command inside a namespace and waits for it.
    ///
    /// # Errors
    /// If it cannot be started; its exit status is in the output.
    pub fn exec(&self, ns: &str, command: &[&str]) -> Result<Output> {
        let (program, args) = command.split_first().context("no command is given")?;
        self.command(ns, program)?
            .args(args)
            .output()
            .with_context(|| format!("running `{}` in {ns}", command.join(" ")))
    }

    /// Runs `f` on a thread of its own inside a namespace: sockets that it opens belong there.
    ///
    /// # Errors
    /// If there is no such namespace, or `f` panicked.
    pub fn enter<T: Send>(&self, ns: &str, f: impl FnOnce() -> T + Send) -> Result<T> {
        netns::enter(&self.topology.netns(ns)?, f)
    }

    /// Lets both ends of every node's cable take what arrives in kernel threads of their own, as a network card's
    /// interrupts would. Without this a sender's time pays for its packets' whole way through all other nodes and
    /// back. Needs `ethtool`; lasts as long as the lab.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn receive_in_threads(&self) -> Result<()> {
        let ports = self.nodes().iter().map(|node| (self.topology.underlay_ns.as_str(), node.switch_port()));
        let uplinks = self.nodes().iter().map(|node| (node.netns.as_str(), "eth0".to_owned()));
        for (ns, link) in ports.chain(uplinks) {
            self.receive_in_thread(ns, &link)?;
        }
        Ok(())
    }

    /// Lets one end of a veth take what arrives in a kernel thread of its own, as [`Lab::receive_in_threads`] does for
    /// cables.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn receive_in_thread(&self, ns: &str, link: &str) -> Result<()> {
        // A veth has a queue of its own, which is what such a thread serves, only while GRO is on and the other end has
        // no TSO (drivers/net/veth.c, veth_skb_is_eligible_for_gro).
        let line = format!("ethtool -K {link} gro on tso off && echo 1 > /sys/class/net/{link}/threaded");
        let output = self.exec(ns, &["sh", "-c", &line])?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Starts a program inside a namespace, with both outputs appended to [`Lab::log_path`]`(log)`. In a lab
    /// whose [`Lifetime`] is `Driver` it dies with this process; in a detached one it stays until the lab is
    /// torn down.
    ///
    /// # Errors
    /// If there is no such namespace or program.
    pub fn spawn_in(
        &self,
        ns: &str,
        program: impl AsRef<OsStr>,
        args: &[&str],
        env: &[(&str, &str)],
        log: &str,
    ) -> Result<Process> {
        let dies_with_driver = self.lock.is_some() && self.spec.lifetime == Lifetime::Driver;
        let mut command = self.command(ns, program)?;
        command.args(args).envs(env.iter().copied());
        process::start(command, &self.log_path(log), dies_with_driver)
    }

    /// The active faults, in the order they were injected.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn faults(&self) -> Result<Vec<Fault>> {
        self.dir.faults()
    }

    /// Breaks something. On return it is broken, and the inventory shows what it should show.
    ///
    /// # Errors
    /// If the fault names something that is not there, or the kernel refuses; nothing stays broken then.
    pub fn inject(&self, fault: &Fault) -> Result<()> {
        let _lock = self.dir.lock_faults()?;
        let mut faults = self.dir.faults()?;
        if !faults.contains(fault) {
            faults.push(fault.clone());
        }
        // Noted first: a driver that dies in between leaves a fault that can be healed.
        self.dir.write_faults(&faults)?;
        let broken = fault::inject(fault, &self.topology)
            .and_then(|()| if fault.changes_cluster() { self.align(&faults) } else { Ok(()) });
        if let Err(error) = broken {
            faults.retain(|other| other != fault);
            self.dir.write_faults(&faults)?;
            _ = fault::heal(fault, &self.topology);
            return Err(error).with_context(|| format!("injecting `{fault}`"));
        }
        Ok(())
    }

    /// Mends what a fault broke; whatever other faults broke stays broken.
    ///
    /// # Errors
    /// If the kernel refuses, or a server does not come back.
    pub fn heal(&self, fault: &Fault) -> Result<()> {
        let _lock = self.dir.lock_faults()?;
        let mut faults = self.dir.faults()?;
        fault::heal(fault, &self.topology).with_context(|| format!("healing `{fault}`"))?;
        faults.retain(|other| other != fault);
        self.dir.write_faults(&faults)?;
        // Restoring addresses and routes may have mended what another fault still means to be broken.
        for other in &faults {
            fault::inject(other, &self.topology).with_context(|| format!("keeping `{other}`"))?;
        }
        if fault.changes_cluster() {
            self.align(&faults)?;
        }
        fault::forget(fault, &self.topology)
    }

    /// Mends everything.
    ///
    /// # Errors
    /// As [`Lab::heal`].
    pub fn heal_all(&self) -> Result<()> {
        self.faults()?.iter().try_for_each(|fault| self.heal(fault))
    }

    /// Brings servers, service rules and inventory in line with the active faults.
    fn align(&self, faults: &[Fault]) -> Result<()> {
        let services = service::under(&self.topology, faults);
        self.servers().reconcile(&self.topology, &services, faults)?;
        service::apply(&self.topology, &services)?;
        let list = inventory::list(&self.topology, &services, faults);
        write_atomically(&self.inventory_path(), &serde_json::to_vec_pretty(&list)?)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.lock.is_some() && self.spec.lifetime == Lifetime::Driver {
            // Nobody is left to report to; the next `up` or `down` of the name tries again.
            _ = self.tear_down();
        }
    }
}

/// Kills, deletes and forgets. The caller holds the lab's lock.
fn remove(name: &str, dir: &StateDir) -> Result<()> {
    let namespaces = netns::list(&netns_prefix(name))?;
    process::kill_all(&namespaces)?;
    netns::each(&namespaces, |ns| netns::delete(ns))?;
    dir.remove()
}

fn check_root() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a lab makes network namespaces: run this as root");
    Ok(())
}

fn check_machine() -> Result<()> {
    check_root()?;
    check_tools(TOOLS.iter().copied())
}

/// What only some labs run.
fn optional_tools(spec: &LabSpec) -> impl Iterator<Item = (&'static str, &'static str)> {
    let iptables = [("iptables-nft-restore", "iptables"), ("ip6tables-nft-restore", "iptables")];
    let plugins = [(cni::BRIDGE, cni::PACKAGE), (cni::HOST_LOCAL, cni::PACKAGE)];
    let iptables = iptables.into_iter().filter(|_| spec.proxy == Proxy::KubeProxyIptables);
    iptables.chain(plugins.into_iter().filter(|_| spec.cni_plugins))
}

fn check_tools(tools: impl IntoIterator<Item = (&'static str, &'static str)>) -> Result<()> {
    for (tool, package) in tools {
        ensure!(find(tool).is_some(), "`{tool}` is missing (package {package}): run `cargo xtask setup`");
    }
    Ok(())
}
