//! Takes frames from one device and sends each through another after a time of its own: frames overtake each other.
//!
//! The sockets carry the state of checksum and segmentation along with the frame (PACKET_VNET_HDR), so that a frame
//! leaves as it came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::RandomState;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::fs::File;
use std::hash::BuildHasher as _;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Room for the largest frame that segmentation offload makes, with what goes before it.
const FRAME_MAX: usize = (1 << 16) + 256;

const AF_PACKET: u16 = 17;
const SOCK_RAW: c_int = 3;
const SOL_SOCKET: c_int = 1;
const SO_MARK: c_int = 36;
const SOL_PACKET: c_int = 263;
const PACKET_VNET_HDR: c_int = 15;
const ETH_P_ALL: u16 = 3;

/// `struct sockaddr_ll`.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol_be: u16,
    ifindex: c_int,
    hatype: u16,
    pkttype: u8,
    halen: u8,
    addr: [u8; 8],
}

unsafe extern "C" {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: c_uint) -> c_int;
    fn if_nametoindex(name: *const std::ffi::c_char) -> c_uint;
}

/// Runs until the devices are gone. Every frame is held for up to `delay`.
pub(crate) fn late(from: &str, to: &str, delay: Duration, mark: u32) -> io::Result<()> {
    let mut source = open(from, ETH_P_ALL)?;
    // Protocol 0: this one receives nothing.
    let mut sink = open(to, 0)?;
    option(&sink, SOL_SOCKET, SO_MARK, mark)?;
    println!("ready");
    let (held, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let random = RandomState::new();
        let mut frame = vec![0; FRAME_MAX];
        for number in 0_u64.. {
            match source.read(&mut frame) {
                Ok(len) => {
                    let wait = delay.mul_f64((random.hash_one(number) % 1024) as f64 / 1024.0);
                    if held.send((Instant::now() + wait, frame[..len].to_vec())).is_err() {
                        return;
                    }
                }
                // The device went down, and may come up again.
                Err(error) => eprintln!("netlab-server: reading a frame: {error}"),
            }
        }
    });
    let mut waiting: BinaryHeap<Reverse<(Instant, Vec<u8>)>> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map_or(Duration::from_secs(1), |Reverse((due, _))| {
            due.saturating_duration_since(Instant::now())
        });
        match due.recv_timeout(next) {
            Ok(frame) => waiting.push(Reverse(frame)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while waiting.peek().is_some_and(|Reverse((due, _))| *due <= Instant::now()) {
            if let Some(Reverse((_, frame))) = waiting.pop()
                && let Err(error) = sink.write_all(&frame)
            {
                eprintln!("netlab-server: sending a frame: {error}");
            }
        }
    }
}

/// A packet socket of one device.
fn open(device: &str, protocol: u16) -> io::Result<File> {
    // SAFETY: no pointers.
    let fd = unsafe { socket(AF_PACKET.into(), SOCK_RAW, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    option(&file, SOL_PACKET, PACKET_VNET_HDR, 1)?;
    let name = CString::new(device)?;
    // SAFETY: a C string that lives through the call.
    let ifindex = unsafe { if_nametoindex(name.as_ptr()) };
    if ifindex == 0 {
        return Err(io::Error::last_os_error());
    }
    let address = LinkAddress {
        family: AF_PACKET,
        protocol_be: protocol.to_be(),
        ifindex: ifindex.cast_signed(),
        hatype: 0,
        pkttype: 0,
        halen: 0,
        addr: [0; 8],
    };
    let len = size_of::<LinkAddress>() as c_uint;
    // SAFETY: the address is as the kernel wants it and lives through the call.
    check(unsafe { bind(fd, (&raw const address).cast(), len) })?;
    Ok(file)
}

fn option(socket: &File, level: c_int, name: c_int, value: u32) -> io::Result<()> {
    let len = size_of::<u32>() as c_uint;
    // SAFETY: the value lives through the call, and its length is its own.
    check(unsafe { setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
