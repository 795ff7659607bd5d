//! bpf(2), as far as other projects' programs and empty ones need it: a few instructions, loaded and attached by hand.
//! netcheck's own programs are the agent's business. What is attached goes with the value that stands for it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ENABLE_STATS: libc::c_long = 32;

/// Kinds of programs and of places (include/uapi/linux/bpf.h).
pub(crate) const SCHED_CLS: u32 = 3;
pub(crate) const XDP: u32 = 6;
pub(crate) const RAW_TRACEPOINT: u32 = 17;
/// Before all others that are there (`BPF_F_BEFORE`).
pub(crate) const BEFORE: u32 = 8;
pub(crate) const AT_XDP: u32 = 37;
pub(crate) const AT_TCX_INGRESS: u32 = 46;
pub(crate) const AT_TCX_EGRESS: u32 = 47;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` uses (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The part that `BPF_LINK_CREATE` uses.
#[repr(C)]
#[derive(Default)]
struct Link {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    pad: u32,
    expected_revision: u64,
}

/// The part that `BPF_RAW_TRACEPOINT_OPEN` uses.
#[repr(C)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

/// The part that `BPF_OBJ_GET_INFO_BY_FD` uses.
#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

/// The part that `BPF_PROG_GET_FD_BY_ID` uses.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// The first part of `struct bpf_prog_info`.
#[repr(C)]
struct Info {
    before_name: [u64; 8],
    name: [u8; 16],
    before_time: [u64; 14],
    run_time_ns: u64,
    run_count: u64,
}

const _: () =
    assert!(std::mem::offset_of!(Info, name) == 64 && std::mem::offset_of!(Info, run_time_ns) == 192);

/// One instruction (include/uapi/linux/bpf.h, `struct bpf_insn`).
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Insn {
    code: u8,
    /// Destination in the low half, source in the high.
    registers: u8,
    offset: i16,
    value: i32,
}

/// One instruction.
pub(crate) const fn insn(code: u8, registers: u8, offset: i16, value: i32) -> Insn {
    Insn { code, registers, offset, value }
}

/// What the kernel measured of a program while somebody held [`measure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    /// Its name, cut to 15 characters.
    pub(crate) name: String,
    /// Nanoseconds, all runs together.
    pub(crate) time_ns: u64,
    /// How often it ran.
    pub(crate) count: u64,
}

/// Loads a program.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn load(prog_type: u32, code: &[Insn]) -> Result<OwnedFd> {
    let load = Load {
        prog_type,
        insn_cnt: u32::try_from(code.len())?,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    call_for_fd(BPF_PROG_LOAD, &load).context("loading a program")
}

/// Attaches a program to an interface of the caller's network namespace, behind whoever is there already.
///
/// # Errors
/// If there is no such interface or the kernel refuses.
pub(crate) fn attach(program: &OwnedFd, interface: &str, attach_type: u32, flags: u32) -> Result<OwnedFd> {
    let name = CString::new(interface)?;
    // SAFETY: a C string that lives through the call.
    let target_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    ensure!(target_ifindex != 0, "no interface `{interface}`");
    let prog_fd = u32::try_from(program.as_raw_fd())?;
    let link = Link { prog_fd, target_ifindex, attach_type, flags, ..Link::default() };
    call_for_fd(BPF_LINK_CREATE, &link).with_context(|| format!("attaching a program to {interface}"))
}

/// Attaches a program to a tracepoint.
///
/// # Errors
/// If there is no such tracepoint or the kernel refuses.
pub(crate) fn attach_tracepoint(program: &OwnedFd, tracepoint: &str) -> Result<OwnedFd> {
    let name = CString::new(tracepoint)?;
    let prog_fd = u32::try_from(program.as_raw_fd())?;
    let open = RawTracepoint { name: name.as_ptr() as u64, prog_fd, pad: 0 };
    call_for_fd(BPF_RAW_TRACEPOINT_OPEN, &open)
        .with_context(|| format!("attaching a program to {tracepoint}"))
}

/// Lets the kernel measure all programs until the value is dropped, however this process ends.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn measure() -> Result<OwnedFd> {
    const BPF_STATS_RUN_TIME: u32 = 0;
    call_for_fd(BPF_ENABLE_STATS, &BPF_STATS_RUN_TIME).context("having the kernel measure its programs")
}

/// A program that somebody has loaded.
///
/// # Errors
/// If there is none with that id.
pub(crate) fn by_id(id: u32) -> Result<OwnedFd> {
    call_for_fd(BPF_PROG_GET_FD_BY_ID, &ById { id, next: 0, flags: 0 })
        .with_context(|| format!("program {id}"))
}

/// What was measured of a program so far.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn runs(program: &OwnedFd) -> Result<Runs> {
    // All zero: with lengths of zero the kernel writes to none of the places that the structure may name.
    let mut info =
        Info { before_name: [0; 8], name: [0; 16], before_time: [0; 14], run_time_ns: 0, run_count: 0 };
    let attr = InfoByFd {
        fd: u32::try_from(program.as_raw_fd())?,
        len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &attr).context("asking after a program")?;
    let name = info.name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Runs {
        name: String::from_utf8_lossy(name).into_owned(),
        time_ns: info.run_time_ns,
        count: info.run_count,
    })
}

/// One call of bpf(2) that gives a descriptor.
fn call_for_fd<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: the structure is as the kernel wants it, and what it points to lives through the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    let answer = i32::try_from(answer).map_err(io::Error::other)?;
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
