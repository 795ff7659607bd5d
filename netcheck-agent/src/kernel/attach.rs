//! Hooks on this node's interfaces: attached at start, followed as links come and go, looked after.
//!
//! Task: [`Attacher::run`], one per agent. In: netlink. Out: attached programs, and what became of each hook in
//! [`Shared`]. Cancelling it leaves all hooks as they are; dropping it detaches them. Nothing is pinned: when the
//! agent is killed the kernel removes tcx links by itself; netlink filters (kernels before 6.6) are swept at the next
//! start by their name.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap as BpfHashMap, MapData};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType, TcHandle, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier};
use aya_log::EbpfLogger;
use netcheck_common::abi::roles;
use netcheck_proto::convert::family_to_wire;
use netcheck_proto::v1;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::TcMode;
use super::interfaces::{Interface, Link, Shared};
use super::links::{Netlink, Snapshot, difference};
use super::refusal::{CLASSIFIERS, errno, log_verifier, why};
use crate::host::clock::monotonic_ns;
use crate::model::observation::InterfaceRole;

/// Fixed place of our filters where tcx is not to be had: far from what CNIs use, never the first.
const NETLINK_PRIORITY: u16 = 51_966;
const NETLINK_HANDLE: TcHandle = TcHandle::new(0, 0xca7);
/// Changes come in bursts (a pod's start is a dozen messages).
const SETTLE: Duration = Duration::from_millis(50);
/// Names of interfaces that are gone are kept for late events, up to this many.
const GONE_MAX: usize = 256;
/// How often every hook is looked after: still there, still first?
const INSPECT: Duration = Duration::from_secs(10);

/// The classifier programs by (egress, link layer).
const PROGRAMS: [(bool, bool, &str); 4] = [
    (false, true, "netcheck_in_l2"),
    (true, true, "netcheck_out_l2"),
    (false, false, "netcheck_in_l3"),
    (true, false, "netcheck_out_l3"),
];

/// Owns the loaded programs and their links.
pub(crate) struct Attacher {
    ebpf: Ebpf,
    roles: BpfHashMap<MapData, u32, u32>,
    links: HashMap<u32, Link>,
    attached: HashMap<(u32, bool), SchedClassifierLink>,
    shared: Arc<Shared>,
    mode: TcMode,
    netlink: Netlink,
    logger: Option<EbpfLogger<super::log::ToTracing>>,
}

impl Attacher {
    /// Takes over loaded programs. Attaches nothing yet. Must run in a tokio runtime.
    pub(crate) fn new(
        mut ebpf: Ebpf,
        roles: BpfHashMap<MapData, u32, u32>,
        shared: Arc<Shared>,
        mode: TcMode,
    ) -> std::io::Result<Self> {
        let netlink = Netlink::open()?;
        let logger = super::log::enabled()
            .then(|| EbpfLogger::init_with_logger(&mut ebpf, super::log::ToTracing))
            .and_then(|logger| logger.inspect_err(|error| warn!(%error, "kernel logs can't be read")).ok());
        let (links, attached) = (HashMap::new(), HashMap::new());
        Ok(Self { ebpf, roles, links, attached, shared, mode, netlink, logger })
    }

    /// Follows the links until cancelled.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut inspect = tokio::time::interval(INSPECT);
        inspect.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                change = self.netlink.changed() => {
                    if change.is_none() {
                        self.degrade("netlink: the connection ended; new interfaces are not followed");
                        shutdown.cancelled().await;
                        return;
                    }
                    tokio::time::sleep(SETTLE).await;
                    self.netlink.forget_changes();
                    self.refresh().await;
                }
                _ = inspect.tick() => {
                    self.refresh().await;
                    self.inspect();
                    if let Some(logger) = &mut self.logger {
                        logger.flush();
                    }
                }
            }
        }
    }

    fn degrade(&self, what: &str) {
        warn!("{what}");
        let mut state = self.shared.lock();
        if !state.degraded.iter().any(|line| line == what) {
            state.degraded.push(what.to_owned());
        }
    }

    /// Brings the hooks in line with the links as they are now.
    pub(crate) async fn refresh(&mut self) {
        let Snapshot { links, own_addresses } = match self.netlink.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(error) => return warn!(%error, "links can't be listed; hooks stay as they are"),
        };
        self.shared.set_own_addresses(own_addresses);
        let (appeared, vanished) = difference(&self.links, &links);
        for ifindex in vanished {
            self.forget(ifindex);
        }
        for link in appeared {
            self.adopt(&link);
        }
        self.links = links.into_iter().map(|link| (link.ifindex, link)).collect();
        self.shared.set_down(&self.links, monotonic_ns());
        let mut state = self.shared.lock();
        if state.interfaces.len() > self.links.len() + GONE_MAX {
            state.interfaces.retain(|index, _| self.links.contains_key(index));
        }
    }

    fn forget(&mut self, ifindex: u32) {
        for egress in [false, true] {
            // With the device its hooks are gone; closing what is left of them can't fail in a way that matters.
            self.attached.remove(&(ifindex, egress));
            self.shared.lock().hooks.remove(&(ifindex, egress));
        }
        let _ = self.roles.remove(&ifindex);
    }

    fn adopt(&mut self, link: &Link) {
        let role = link.role();
        let entry = Interface {
            name: Arc::from(link.name.as_str()),
            role: role.unwrap_or(if link.ifindex == 1 {
                InterfaceRole::Loopback
            } else {
                InterfaceRole::Unknown
            }),
            down: None,
        };
        self.shared.lock().interfaces.insert(link.ifindex, entry);
        let Some(role) = role else { return };
        // The role first: the reflector writes only where it knows the role.
        if let Err(error) = self.roles.insert(link.ifindex, role_number(role), 0) {
            self.degrade(&format!("{}: the table of interfaces is full: {error}", link.name));
        }
        for egress in [false, true] {
            self.hook(link, role, egress);
        }
    }

    fn hook(&mut self, link: &Link, role: InterfaceRole, egress: bool) {
        let (state, detail) = match self.attach(link, egress) {
            Ok(attached) => {
                self.attached.insert((link.ifindex, egress), attached);
                debug!(interface = link.name, egress, "hook attached");
                (v1::HookState::Attached, String::new())
            }
            Err(error) if is_gone(&error) => {
                debug!(interface = link.name, "gone before its hook was attached");
                return;
            }
            Err(error) => {
                let detail = why(&error, CLASSIFIERS);
                warn!(interface = link.name, egress, detail, "hook not attached");
                (v1::HookState::Failed, detail)
            }
        };
        let status = v1::HookStatus {
            interface: link.name.clone(),
            ifindex: link.ifindex,
            role: role.to_wire().into(),
            egress,
            state: state.into(),
            detail,
            kind: link.kind.clone(),
            outer_family: link.outer.map_or(v1::Family::Unspecified, family_to_wire).into(),
        };
        self.shared.lock().hooks.insert((link.ifindex, egress), status);
    }

    fn attach(&mut self, link: &Link, egress: bool) -> Result<SchedClassifierLink, ProgramError> {
        let name = program_name(egress, link.has_link_layer());
        let kind = if egress { TcAttachType::Egress } else { TcAttachType::Ingress };
        let program: &mut SchedClassifier = self
            .ebpf
            .program_mut(name)
            .expect("the embedded object has all classifiers; loading checked it")
            .try_into()?;
        let id = match self.mode {
            TcMode::Tcx => program.attach_with_options(
                &link.name,
                kind,
                TcAttachOptions::TcxOrder(LinkOrder::first()),
            )?,
            TcMode::Netlink => {
                // Exists already where anybody else uses tc; it is never removed.
                let _ = qdisc_add_clsact(&link.name);
                let _ = qdisc_detach_program(&link.name, kind, name);
                let options =
                    NlOptions { priority: NETLINK_PRIORITY, handle: NETLINK_HANDLE, ..NlOptions::default() };
                program.attach_with_options(&link.name, kind, TcAttachOptions::Netlink(options))?
            }
        };
        program.take_link(id)
    }

    /// Looks whether every hook is still there, and whether anybody stands before it.
    fn inspect(&mut self) {
        if self.mode != TcMode::Tcx {
            return;
        }
        let mut lost = Vec::new();
        for &(ifindex, egress) in self.attached.keys() {
            let Some(link) = self.links.get(&ifindex) else { continue };
            let kind = if egress { TcAttachType::Egress } else { TcAttachType::Ingress };
            let Ok((_, programs)) = SchedClassifier::query_tcx(&link.name, kind) else { continue };
            let ours = program_name(egress, link.has_link_layer());
            match programs.iter().position(|program| program.name_as_str() == Some(ours)) {
                None => lost.push((ifindex, egress)),
                Some(place) => {
                    let (state, detail) = if place == 0 {
                        (v1::HookState::Attached, String::new())
                    } else {
                        let first = programs[0].name_as_str().unwrap_or("?");
                        (v1::HookState::Shadowed, format!("program {first} stands before it"))
                    };
                    if let Some(status) = self.shared.lock().hooks.get_mut(&(ifindex, egress)) {
                        status.state = state.into();
                        status.detail = detail;
                    }
                }
            }
        }
        for key @ (ifindex, egress) in lost {
            self.attached.remove(&key);
            let Some(link) = self.links.get(&ifindex).cloned() else { continue };
            if let Some(role) = link.role() {
                info!(interface = link.name, egress, "hook was gone; attached again");
                self.hook(&link, role, egress);
            }
        }
    }
}

fn program_name(egress: bool, link_layer: bool) -> &'static str {
    PROGRAMS
        .iter()
        .find(|&&(e, l, _)| (e, l) == (egress, link_layer))
        .map(|&(_, _, name)| name)
        .expect("all four combinations are in the table")
}

/// Loads all classifiers.
pub(crate) fn load_classifiers(ebpf: &mut Ebpf) -> Result<(), (&'static str, ProgramError)> {
    for (_, _, name) in PROGRAMS {
        let program = ebpf.program_mut(name).ok_or((name, ProgramError::NotLoaded))?;
        let program: &mut SchedClassifier = program.try_into().map_err(|error| (name, error))?;
        program.load().map_err(|error| {
            log_verifier(name, &error);
            (name, error)
        })?;
        let instructions = program.info().ok().and_then(|info| info.verified_instruction_count());
        debug!(target: "netcheck::kernel", name, instructions, "verified");
    }
    Ok(())
}

/// Removes netlink filters that an earlier agent left, by their names, from an interface. Returns how many.
pub(crate) fn sweep(interface: &str) -> usize {
    PROGRAMS
        .iter()
        .filter(|&&(egress, _, name)| {
            let kind = if egress { TcAttachType::Egress } else { TcAttachType::Ingress };
            qdisc_detach_program(interface, kind, name).is_ok()
        })
        .count()
}

fn role_number(role: InterfaceRole) -> u32 {
    match role {
        InterfaceRole::Uplink => roles::UPLINK,
        InterfaceRole::Tunnel => roles::TUNNEL,
        InterfaceRole::Bridge => roles::BRIDGE,
        InterfaceRole::PodVeth => roles::POD_VETH,
        InterfaceRole::Loopback | InterfaceRole::Unknown => 0,
    }
}

/// Whether the interface went away while its hook was being attached.
fn is_gone(error: &ProgramError) -> bool {
    matches!(errno(error), Some(libc::ENODEV | libc::ENXIO))
}
