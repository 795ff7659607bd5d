//! Whatever arrives at an interface: the parser that the kernel programs share, and the probe header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netcheck_common::header::{HEADER_LEN, ProbeHeader};
use netcheck_common::packet::{Packet, Start, parse};

fuzz_target!(|bytes: &[u8]| {
    for start in [Start::Ethernet, Start::Ip] {
        let mut packet = Packet::default();
        if parse(bytes, start, &mut packet).is_none() {
            continue;
        }
        assert!(matches!(packet.version, 4 | 6), "{packet:?}");
        // Of other protocols nothing is read behind the IP header, wherever that says that it ends.
        assert!(packet.source_port == 0 || packet.transport as usize + 4 <= bytes.len(), "{packet:?}");
        let payload = bytes.get(packet.payload() as usize..).and_then(|rest| rest.first_chunk::<HEADER_LEN>());
        if let Some(header) = payload.and_then(ProbeHeader::from_bytes) {
            assert_eq!(ProbeHeader::from_bytes(&header.to_bytes()), Some(header));
        }
    }
    if let Some(header) = bytes.first_chunk::<HEADER_LEN>().and_then(ProbeHeader::from_bytes) {
        assert_eq!(ProbeHeader::from_bytes(&header.to_bytes()), Some(header));
    }
});
