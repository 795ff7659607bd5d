//! Structure offsets and drop reasons of the running kernel, from its own BTF.
//!
//! In: `/sys/kernel/btf/vmlinux` (Documentation/bpf/btf.rst). Out: [`KernelOffsets`] and [`DropReasons`].
//! General BTF libraries build every type of the kernel in memory, over 100 MiB; this one walks the raw section and
//! keeps one offset per type while it looks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use netcheck_common::abi::KernelOffsets;

/// Where kernels show their own BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why offsets can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// No BTF: a kernel without CONFIG_DEBUG_INFO_BTF, or /sys not mounted.
    #[error("this kernel shows no BTF at {path} (CONFIG_DEBUG_INFO_BTF)")]
    Absent {
        /// Where it was looked for.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not BTF, or cut short.
    #[error("BTF is malformed at byte {offset}")]
    Malformed {
        /// Where.
        offset: usize,
    },
    /// A structure or member that this kernel doesn't have.
    #[error("this kernel's BTF has no {what}")]
    Missing {
        /// `structure.member`.
        what: String,
    },
}

const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_ENUM64: u32 = 19;
const MAX_NESTING: u32 = 8;

/// A raw BTF section with the place of each type in it.
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// Start of each type by id; id 0 is void.
    types: Vec<u32>,
    strings: usize,
}

impl Btf {
    /// Reads and indexes a BTF file.
    pub(crate) fn read(path: &Path) -> Result<Self, BtfError> {
        let bytes = std::fs::read(path)
            .map_err(|source| BtfError::Absent { path: path.display().to_string(), source })?;
        Self::index(bytes)
    }

    fn index(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let mut btf = Self { bytes, types: vec![0], strings: 0 };
        if btf.u32_at(0)? & 0xffff != 0xeb9f {
            return Err(BtfError::Malformed { offset: 0 });
        }
        let header_len = btf.u32_at(4)? as usize;
        let (type_offset, type_len) = (btf.u32_at(8)? as usize, btf.u32_at(12)? as usize);
        btf.strings = header_len + btf.u32_at(16)? as usize;
        let mut at = header_len + type_offset;
        let end = at + type_len;
        while at < end {
            btf.types.push(at as u32);
            let info = btf.u32_at(at + 4)?;
            let vlen = (info & 0xffff) as usize;
            at += 12
                + match info >> 24 & 0x1f {
                    1 | 14 | 17 => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | 15 | KIND_ENUM64 => 12 * vlen,
                    KIND_ENUM | 13 => 8 * vlen,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => return Err(BtfError::Malformed { offset: at }),
                };
        }
        Ok(btf)
    }

    fn u32_at(&self, at: usize) -> Result<u32, BtfError> {
        let bytes = at.checked_add(4).and_then(|end| self.bytes.get(at..end));
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_ne_bytes)
            .ok_or(BtfError::Malformed { offset: at })
    }

    /// The NUL-terminated string at an offset of the string section, without the NUL.
    fn name(&self, offset: u32) -> &[u8] {
        let rest = self.bytes.get(self.strings + offset as usize..).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn find(&self, kinds: &[u32], name: &str) -> Option<usize> {
        self.types[1..].iter().map(|&at| at as usize).find(|&at| {
            let kind = self.u32_at(at + 4).unwrap_or(0) >> 24 & 0x1f;
            kinds.contains(&kind) && self.u32_at(at).is_ok_and(|offset| self.name(offset) == name.as_bytes())
        })
    }

    /// Offset in bytes of a member, named by its path; members of anonymous structures count as their parent's.
    fn offset_of(&self, structure: &str, path: &[&str]) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing { what: format!("{structure}.{}", path.join(".")) };
        let mut at = self.find(&[KIND_STRUCT], structure).ok_or_else(missing)?;
        let mut offset = 0;
        for (depth, member) in path.iter().enumerate() {
            let (bits, type_id) = self.member(at, member, 0).ok_or_else(missing)?;
            offset += bits / 8;
            if depth + 1 < path.len() {
                at = self.structure(type_id).ok_or_else(missing)?;
            }
        }
        Ok(offset)
    }

    /// Size in bytes.
    fn size_of(&self, structure: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing { what: structure.to_owned() };
        self.u32_at(self.find(&[KIND_STRUCT], structure).ok_or_else(missing)? + 8)
    }

    /// Offset in bits and type of a member.
    fn member(&self, structure: usize, name: &str, nesting: u32) -> Option<(u32, u32)> {
        let info = self.u32_at(structure + 4).ok()?;
        for index in 0..(info & 0xffff) as usize {
            let at = structure + 12 + index * 12;
            let (name_offset, type_id, raw) =
                (self.u32_at(at).ok()?, self.u32_at(at + 4).ok()?, self.u32_at(at + 8).ok()?);
            // With the kind flag, the upper 8 bits are the width of a bit field.
            let bits = if info >> 31 == 1 { raw & 0x00ff_ffff } else { raw };
            let member_name = self.name(name_offset);
            if member_name == name.as_bytes() {
                return Some((bits, type_id));
            }
            if member_name.is_empty()
                && nesting < MAX_NESTING
                && let Some(inner) = self.structure(type_id)
                && let Some((inner_bits, inner_type)) = self.member(inner, name, nesting + 1)
            {
                return Some((bits + inner_bits, inner_type));
            }
        }
        None
    }

    /// The structure or union behind typedefs and qualifiers.
    fn structure(&self, mut type_id: u32) -> Option<usize> {
        for _ in 0..MAX_NESTING {
            let at = *self.types.get(type_id as usize).filter(|_| type_id != 0)? as usize;
            match self.u32_at(at + 4).ok()? >> 24 & 0x1f {
                KIND_STRUCT | KIND_UNION => return Some(at),
                8..=11 | 18 => type_id = self.u32_at(at + 8).ok()?,
                _ => return None,
            }
        }
        None
    }

    /// All (name, value) of an enum.
    fn enumerators(&self, name: &str) -> Result<Vec<(String, u32)>, BtfError> {
        let missing = || BtfError::Missing { what: format!("enum {name}") };
        let at = self.find(&[KIND_ENUM], name).ok_or_else(missing)?;
        let count = (self.u32_at(at + 4)? & 0xffff) as usize;
        (0..count)
            .map(|index| {
                let entry = at + 12 + index * 8;
                let name = String::from_utf8_lossy(self.name(self.u32_at(entry)?)).into_owned();
                Ok((name, self.u32_at(entry + 4)?))
            })
            .collect()
    }
}

/// Everything that the drop tracepoint must know of this kernel.
pub(crate) fn offsets(btf: &Btf, reasons: &DropReasons) -> Result<KernelOffsets, BtfError> {
    let skb = |member| btf.offset_of("sk_buff", &[member]);
    let reason = |name: &str| {
        reasons.number(name).ok_or_else(|| BtfError::Missing { what: format!("drop reason {name}") })
    };
    Ok(KernelOffsets {
        valid: 1,
        skb_head: skb("head")?,
        skb_network_header: skb("network_header")?,
        skb_mac_header: skb("mac_header")?,
        skb_dev: skb("dev")?,
        skb_sk: skb("sk")?,
        skb_iif: skb("skb_iif")?,
        skb_refdst: skb("_skb_refdst")?,
        dev_ifindex: btf.offset_of("net_device", &["ifindex"])?,
        dev_net: btf.offset_of("net_device", &["nd_net", "net"])?,
        dev_priv: device_priv(btf)?,
        dev_list: btf.offset_of("net_device", &["dev_list"])?,
        net_devices: btf.offset_of("net", &["dev_base_head"])?,
        net_inum: btf.offset_of("net", &["ns", "inum"])?,
        sk_net: btf.offset_of("sock", &["__sk_common", "skc_net", "net"])?,
        sk_num: btf.offset_of("sock", &["__sk_common", "skc_num"])?,
        dst_dev: btf.offset_of("dst_entry", &["dev"])?,
        dst_input: btf.offset_of("dst_entry", &["input"])?,
        reason_no_socket: reason("NO_SOCKET")?,
        reason_not_specified: reason("NOT_SPECIFIED")?,
        // A kernel without it never drops for it.
        reason_netfilter_drop: reasons.number("NETFILTER_DROP").unwrap_or(u32::MAX),
        // Before 6.? SKB_CONSUMED did not exist: then only "not dropped yet", 0, is no drop.
        reason_consumed: reasons.number("CONSUMED").unwrap_or(0),
    })
}

/// What netdev_priv() adds to a device (include/linux/netdevice.h): where it has no such member, its size, aligned to 32
/// bytes.
fn device_priv(btf: &Btf) -> Result<u32, BtfError> {
    let member = btf.offset_of("net_device", &["priv"]);
    member.or_else(|_| Ok(btf.size_of("net_device")?.next_multiple_of(32)))
}

/// This kernel's names of drop reasons, without their prefix: `NETFILTER_DROP`.
#[derive(Debug, Default)]
pub(crate) struct DropReasons {
    names: BTreeMap<u32, Arc<str>>,
}

impl DropReasons {
    /// Reads `enum skb_drop_reason`.
    pub(crate) fn read(btf: &Btf) -> Result<Self, BtfError> {
        let mut names = BTreeMap::new();
        for (name, number) in btf.enumerators("skb_drop_reason")? {
            let short = name.strip_prefix("SKB_DROP_REASON_").or_else(|| name.strip_prefix("SKB_"));
            names.insert(number, Arc::from(short.unwrap_or(&name)));
        }
        Ok(Self { names })
    }

    /// Its name; `unknown(N)` where this kernel has none. Reasons of 2¹⁶ and above carry a subsystem in the high half
    /// (include/net/dropreason.h) and have names in modules only.
    pub(crate) fn name(&self, reason: u32) -> Arc<str> {
        self.names.get(&reason).map_or_else(|| Arc::from(format!("unknown({reason})")), Arc::clone)
    }

    /// This kernel's number of a reason.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(_, known)| known.as_ref() == name).map(|(&number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_what_we_need() {
        let btf = Btf::read(Path::new(VMLINUX)).unwrap();
        let reasons = DropReasons::read(&btf).unwrap();
        let offsets = offsets(&btf, &reasons).unwrap();
        assert_eq!(offsets.valid, 1);
        assert!(offsets.reason_no_socket > offsets.reason_consumed);
        assert_ne!(offsets.skb_head, offsets.skb_dev);
        assert_eq!(&*reasons.name(offsets.reason_no_socket), "NO_SOCKET");
        assert_eq!(&*reasons.name(0x7_0001), "unknown(458753)");
    }

    #[test]
    fn malformed_btf_is_an_error_never_a_panic() {
        let whole = std::fs::read(VMLINUX).unwrap();
        for len in [0, 3, 4, 20, 24, 100, 4096] {
            assert!(Btf::index(whole[..len].to_vec()).is_err(), "{len} bytes");
        }
        let mut noise = whole[..8192].to_vec();
        noise[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Btf::index(noise).is_err());
    }

    #[test]
    fn what_a_kernel_does_not_have_is_named() {
        let btf = Btf::read(Path::new(VMLINUX)).unwrap();
        let error = btf.offset_of("sk_buff", &["no_such_member"]).unwrap_err();
        assert_eq!(error.to_string(), "this kernel's BTF has no sk_buff.no_such_member");
    }
}
