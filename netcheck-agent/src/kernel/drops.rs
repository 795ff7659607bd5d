//! The drop tracepoint: attached as far as this kernel and these privileges allow.

use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, BtfError, Ebpf};
use tracing::debug;

use super::refusal::{TRACEPOINT, chain, log_verifier, why};
use super::symbols;

/// Names the functions of what it reports (bpf_snprintf came with Linux 5.13).
const NAMING: &str = "netcheck_drops";
/// Does all but that.
const BARE: &str = "netcheck_drops_bare";

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// It is attached.
    pub(crate) seen: bool,
    /// The kernel names its functions.
    pub(crate) named: bool,
    /// What is missing and why, one line each.
    pub(crate) missing: Vec<String>,
}

/// Attaches it. `kernel_names`: with names from the kernel, if it makes any.
pub(crate) fn attach(ebpf: &mut Ebpf, kernel_names: bool) -> Drops {
    let refused = match kernel_names.then(|| load(ebpf, NAMING)) {
        Some(Ok(())) => return Drops { seen: true, named: true, missing: Vec::new() },
        Some(Err(error)) => error.to_string(),
        None => "not asked for".to_owned(),
    };
    if let Err(error) = load(ebpf, BARE) {
        return Drops { missing: vec![format!("drops are not seen: {error}")], ..Drops::default() };
    }
    debug!(target: "netcheck::kernel", refused, "the kernel does not name its functions");
    let missing = symbols::hidden().map(|hidden| {
        format!(
            "functions and stages of drops are not known: this kernel does not name its functions to programs \
             (Linux 5.13 and newer do), and hides their addresses: {hidden}"
        )
    });
    Drops { seen: true, named: false, missing: missing.into_iter().collect() }
}

/// Why the tracepoint can't be attached.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    /// The kernel has no type information.
    #[error("{}", chain(.0))]
    Btf(#[from] BtfError),
    /// The embedded object does not fit this source.
    #[error("the embedded object has no program {name}")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// It is no tracepoint program.
    #[error("{}", chain(.0))]
    Kind(#[source] ProgramError),
    /// The kernel refused it.
    #[error("{}", why(.0, TRACEPOINT))]
    Refused(#[source] ProgramError),
}

fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let btf = Btf::from_sys_fs()?;
    let program: &mut BtfTracePoint =
        ebpf.program_mut(name).ok_or(LoadError::Missing { name })?.try_into().map_err(LoadError::Kind)?;
    let loaded = program.load("kfree_skb", &btf).and_then(|()| program.attach());
    loaded.map(drop).map_err(|error| {
        log_verifier(name, &error);
        LoadError::Refused(error)
    })
}
