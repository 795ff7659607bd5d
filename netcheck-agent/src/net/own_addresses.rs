//! The addresses of this network namespace, by interface (getifaddrs(3)).

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::status::{ADDRESSES_MAX, LINKS_MAX, PodLink};

/// All addresses of these interfaces, IPv4 first, as many as can be reported.
pub(crate) fn all(links: &[PodLink]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for &address in links.iter().flat_map(|link| &link.addresses) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// The interfaces with an address that others could reach: not those of the loopback, nor of a link alone. As many as
/// can be reported.
pub(crate) fn own_links() -> io::Result<Vec<PodLink>> {
    let mut links = links_with(is_reachable)?;
    links.truncate(LINKS_MAX);
    Ok(links)
}

/// The interfaces with such addresses, in the kernel's order, which is that of their making.
///
/// # Errors
/// Of getifaddrs(3).
pub(crate) fn links_with(wanted: impl Fn(IpAddr) -> bool) -> io::Result<Vec<PodLink>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is a place for the list's address.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut links: Vec<PodLink> = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: an element of the list, which lives until it is freed below.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        // SAFETY: `ifa_addr` is null, or a socket address as long as its family says.
        let address = unsafe { address_of(entry.ifa_addr) };
        let Some(address) = address.filter(|&address| wanted(address)) else { continue };
        // SAFETY: `ifa_name` is a string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        // An alias of ifconfig's, `eth0:1`, is the same interface.
        let name = name.split(':').next().unwrap_or_default();
        let at = links.iter().position(|link| link.interface == name).unwrap_or_else(|| {
            links.push(PodLink { interface: name.to_owned(), addresses: Vec::new() });
            links.len() - 1
        });
        if links[at].addresses.len() < ADDRESSES_MAX && !links[at].addresses.contains(&address) {
            links[at].addresses.push(address);
        }
    }
    // SAFETY: what getifaddrs made, once.
    unsafe { libc::freeifaddrs(list) };
    Ok(links)
}

/// # Safety
/// `address` is null, or a socket address as long as its family says.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; read unaligned, for nothing is known of where it stands.
    unsafe {
        match i32::from((&raw const (*address).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_for_this_host_is_left_out() {
        let addresses = all(&own_links().unwrap());
        assert!(addresses.iter().all(|&address| is_reachable(address)), "{addresses:?}");
        for (address, expected) in [
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("::1", false),
            ("fe80::1", false),
            ("10.244.1.7", true),
            ("fd00::7", true),
        ] {
            assert_eq!(is_reachable(address.parse().unwrap()), expected, "{address}");
        }
    }
}
