//! Why there is no kernel side, or not all of it, in one line that says what to do.
//!
//! The verifier refuses with EACCES as well as a missing capability may: they are distinguished by the verifier's log and
//! by the capabilities that this process has.

use std::error::Error;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use tracing::debug;

use crate::host::capability::{Capability, missing};

/// What maps and classifiers need.
pub(crate) const CLASSIFIERS: &[Capability] = &[Capability::Bpf, Capability::NetAdmin];
/// What the drop tracepoint needs.
pub(crate) const TRACEPOINT: &[Capability] = &[Capability::Bpf, Capability::Perfmon];

/// Why there is no kernel side at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused a map or the whole object.
    #[error("kernel programs can't be loaded: {}", why(source, CLASSIFIERS))]
    Load {
        /// What aya said.
        source: EbpfError,
    },
    /// The kernel refused a program.
    #[error("kernel program {program} was refused: {}", why(source, CLASSIFIERS))]
    Program {
        /// Its name.
        program: &'static str,
        /// What aya said; with the verifier's log.
        source: ProgramError,
    },
    /// A map is missing or of another type than expected: object and agent don't fit.
    #[error("map {map} of the embedded kernel programs can't be used")]
    Map {
        /// Its name.
        map: &'static str,
        /// What aya said.
        source: Option<MapError>,
    },
    /// Netlink or a thread.
    #[error("{what} can't be set up: {source}")]
    Io {
        /// What for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Everything in one line.
    #[must_use]
    pub fn one_line(&self) -> String {
        match self {
            Self::Load { .. } | Self::Program { .. } | Self::Io { .. } => self.to_string(),
            Self::Map { .. } => chain(self),
        }
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in causes(error).skip(1) {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    line.lines().next().unwrap_or_default().to_owned()
}

/// An error and what lies behind it.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The errno at the end of the causes, where there is one.
pub(crate) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error())
}

/// Why the kernel refused what needs these capabilities.
pub(crate) fn why(error: &(dyn Error + 'static), needed: &[Capability]) -> String {
    if let Some(log) = verifier_log(error) {
        let line = reason(&log).unwrap_or("it gives no reason");
        let strict =
            missing(&[Capability::Perfmon]).map(|missing| format!(" ({missing}: it is stricter then)"));
        return format!(
            "the verifier says: {line}{}; all of its log: --log info,netcheck::kernel=debug",
            strict.unwrap_or_default()
        );
    }
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => missing(needed).unwrap_or_else(|| {
            format!("{}; no capability is missing: seccomp, an LSM or lockdown may forbid it", chain(error))
        }),
        _ => chain(error),
    }
}

/// Logs the verifier's log, for whoever asks for it.
pub(crate) fn log_verifier(program: &str, error: &(dyn Error + 'static)) {
    if let Some(log) = verifier_log(error) {
        debug!(target: "netcheck::kernel", "the verifier on {program}:\n{log}");
    }
}

fn verifier_log(error: &(dyn Error + 'static)) -> Option<String> {
    let log = causes(error).find_map(|cause| match cause.downcast_ref::<ProgramError>()? {
        ProgramError::LoadError { verifier_log, .. } => Some(verifier_log.to_string()),
        _ => None,
    })?;
    (!log.trim().is_empty()).then_some(log)
}

/// The line of a verifier's log that says why: the last one that is neither an instruction, nor source, nor a state of
/// registers, nor a sum.
fn reason(log: &str) -> Option<&str> {
    let sums = ["processed ", "verification time ", "stack depth ", "insns processed "];
    let traces =
        [";", "from ", "mark_precise", "last_idx ", "regs=", "parent ", "func#", "Func#", "Live regs"];
    log.lines().map(str::trim).rfind(|line| {
        !line.is_empty()
            && !sums.iter().chain(&traces).any(|start| line.starts_with(start))
            && !is_instruction(line)
            && !is_state(line)
    })
}

/// `17: (bf) r6 = r1  ; R1=ctx()`.
fn is_instruction(line: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `R0=scalar() R10=fp0`, and not `R1 pointer comparison prohibited`.
fn is_state(line: &str) -> bool {
    line.strip_prefix('R').is_some_and(|rest| {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        after.len() < rest.len() && (after.starts_with('=') || after.starts_with("_w="))
    })
}

#[cfg(test)]
mod tests {
    use aya::programs::BtfTracePoint;
    use aya::{Btf, EbpfLoader};
    use netcheck_common::abi::{KernelOffsets, globals};

    use super::*;
    use crate::kernel::OBJECT;
    use crate::kernel::source::Abi;

    const LOG: &str = "func#0 @0\n0: R1=ctx() R10=fp0\n; if x > y { @ filter.rs:30\n\
        0: (bf) r6 = r1                       ; R1=ctx() R6_w=ctx()\n\
        from 12 to 40: R0=scalar() R10=fp0\n\
        41: (2d) if r2 > r3 goto pc+3\nR2 pointer comparison prohibited\n\
        processed 42 insns (limit 1000000) max_states_per_insn 0 total_states 3 peak_states 3 mark_read 2\n\n";

    /// A program that is sound where it belongs, and reads an argument too many elsewhere.
    #[test]
    fn a_verifiers_refusal_says_why_and_is_no_missing_capability() {
        // The verifier knows globals, and passes over what they rule out.
        let offsets = Abi(KernelOffsets { valid: 1, ..KernelOffsets::default() });
        let mut ebpf =
            EbpfLoader::new().override_global(globals::OFFSETS, &offsets, true).load(OBJECT).unwrap();
        let program: &mut BtfTracePoint = ebpf.program_mut("netcheck_drops").unwrap().try_into().unwrap();
        let source = program.load("consume_skb", &Btf::from_sys_fs().unwrap()).unwrap_err();
        assert_eq!(errno(&source), Some(libc::EACCES), "the errno of a missing capability");
        let line = OpenError::Program { program: "netcheck_drops", source }.one_line();
        assert!(line.contains("netcheck_drops was refused: the verifier says: "), "{line}");
        assert!(
            line.contains("invalid bpf_context access") && line.contains("netcheck::kernel=debug"),
            "{line}"
        );
        assert!(!line.contains('\n') && !line.contains("CAP_"), "{line}");
    }

    #[test]
    fn the_line_that_says_why() {
        for (log, expected) in [
            (LOG, Some("R2 pointer comparison prohibited")),
            (
                "0: (85) call foo\nunknown func foo#1\nstack depth 8\nprocessed 1 insns",
                Some("unknown func foo#1"),
            ),
            (
                "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns (limit",
                Some("BPF program is too large. Processed 1000001 insn"),
            ),
            ("R0=scalar()\n1: (95) exit\nprocessed 2 insns", None),
            ("", None),
        ] {
            assert_eq!(reason(log), expected, "{log}");
        }
    }

    #[test]
    fn without_a_verifiers_word_it_is_a_matter_of_permission() {
        // Tests have all capabilities: what is left is somebody else's ban.
        let line = why(&io::Error::from_raw_os_error(libc::EPERM), CLASSIFIERS);
        assert!(line.contains("no capability is missing") && !line.contains('\n'), "{line}");
        let line = why(&io::Error::from_raw_os_error(libc::EINVAL), CLASSIFIERS);
        assert!(line.starts_with("Invalid argument"), "{line}");
    }
}
