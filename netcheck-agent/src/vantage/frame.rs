//! What agent and vantage say to each other: one JSON object per SEQPACKET message.
//!
//! The vantage begins with [`Frame::Hello`]; from then on it only answers: each [`Frame::Ask`] with one
//! [`Frame::Sockets`], which carries the sockets themselves as control message. [`Frame::Leaving`] is its last word, and
//! [`Frame::Refused`] the agent's, for the vantage's log.

use std::net::IpAddr;

use netcheck_common::domain::Family;
use serde::{Deserialize, Serialize};

use crate::model::status::{ADDRESSES_MAX, LINKS_MAX, PodLink};
use crate::net::socket::SocketKind;

/// Version of this protocol. Both ends come from one image; another version is refused.
pub(crate) const VERSION: u32 = 1;
/// Longest frame, bytes.
pub(crate) const FRAME_MAX: usize = 16 << 10;
/// Most sockets of one frame; the kernel takes 253 (`SCM_MAX_FD`).
pub(crate) const SOCKETS_MAX: usize = 64;
/// Longest name of an interface, bytes (IFNAMSIZ, with the zero at the end).
const INTERFACE_MAX: usize = 15;
/// Longest resolv.conf, bytes.
pub(crate) const RESOLV_CONF_MAX: usize = 2048;
/// Longest `namespace/name`, bytes: two DNS names of Kubernetes.
const POD_MAX: usize = 320;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub(crate) enum Frame {
    /// The vantage introduces itself.
    Hello(Hello),
    /// The agent wants so many sockets.
    Ask(Ask),
    /// What came of an [`Ask`]: the sockets, or why there are none.
    Sockets {
        /// The errno of socket(2) where it was refused.
        errno: Option<i32>,
    },
    /// The vantage ends on purpose, as for a restart: that nobody answers at its port then was to be expected.
    Leaving,
    /// The agent does not take this vantage.
    Refused {
        /// One line.
        why: String,
    },
}

/// Who the vantage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// `namespace/name`, or the name alone.
    pub(crate) pod: String,
    /// The pod's addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where its responder listens; 0 for none.
    pub(crate) responder_port: u16,
    /// Which of its interfaces has which of the addresses. Older vantages don't say.
    #[serde(default)]
    pub(crate) links: Vec<PodLink>,
    /// The text of its resolv.conf(5); empty where it has none, or one that is too long to be real.
    #[serde(default)]
    pub(crate) resolv_conf: String,
}

/// What sockets the agent wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// 4 or 6.
    pub(crate) ip_version: u8,
    pub(crate) kind: SocketKind,
    pub(crate) count: u8,
}

/// A frame that can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("a message of {0} bytes, {FRAME_MAX} are allowed")]
    TooLong(usize),
    #[error("no frame of this protocol: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("protocol version {0}, this side speaks {VERSION}")]
    Version(u32),
    #[error("{0}")]
    Field(&'static str),
}

impl Frame {
    /// The message.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists of them always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads and checks a message.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadFrame> {
        if bytes.len() > FRAME_MAX {
            return Err(BadFrame::TooLong(bytes.len()));
        }
        let frame: Self = serde_json::from_slice(bytes)?;
        match &frame {
            Self::Hello(hello) => hello.check()?,
            Self::Ask(ask) => ask.check()?,
            Self::Sockets { .. } | Self::Leaving | Self::Refused { .. } => {}
        }
        Ok(frame)
    }
}

impl Hello {
    fn check(&self) -> Result<(), BadFrame> {
        if self.version != VERSION {
            return Err(BadFrame::Version(self.version));
        }
        if self.pod.is_empty() || self.pod.len() > POD_MAX {
            return Err(BadFrame::Field("a pod's name has 1 to 320 bytes"));
        }
        if self.pod.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadFrame::Field("a pod's name has no spaces"));
        }
        if self.resolv_conf.len() > RESOLV_CONF_MAX {
            return Err(BadFrame::Field("a resolv.conf has at most 2048 bytes"));
        }
        if self.addresses.is_empty() || self.addresses.len() > ADDRESSES_MAX {
            return Err(BadFrame::Field("a pod has 1 to 64 addresses"));
        }
        if self.links.len() > LINKS_MAX
            || self.links.iter().any(|link| link.addresses.len() > ADDRESSES_MAX)
            || !self.links.iter().all(|link| is_interface(&link.interface))
        {
            return Err(BadFrame::Field("a pod has up to 32 interfaces, each with a name of 1 to 15 bytes"));
        }
        Ok(())
    }

    /// The interface that has an address.
    pub(crate) fn interface_of(&self, address: IpAddr) -> Option<&str> {
        let link = self.links.iter().find(|link| link.addresses.contains(&address))?;
        Some(&link.interface)
    }

    /// Whether it has an address of this family.
    pub(crate) fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|&address| Family::of(address) == family)
    }
}

/// What the kernel takes for one (dev_valid_name() in net/core/dev.c), and nothing that does not show.
fn is_interface(name: &str) -> bool {
    (1..=INTERFACE_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

impl Ask {
    pub(crate) const fn new(family: Family, kind: SocketKind, count: u8) -> Self {
        let ip_version = match family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        Self { ip_version, kind, count }
    }

    fn check(&self) -> Result<(), BadFrame> {
        if !matches!(self.ip_version, 4 | 6) {
            return Err(BadFrame::Field("an IP version is 4 or 6"));
        }
        if self.count == 0 || usize::from(self.count) > SOCKETS_MAX {
            return Err(BadFrame::Field("1 to 64 sockets can be asked for"));
        }
        Ok(())
    }

    pub(crate) const fn family(&self) -> Family {
        if self.ip_version == 6 { Family::V6 } else { Family::V4 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            version: VERSION,
            pod: "netcheck/vantage-abcde".into(),
            addresses: vec!["10.244.1.9".parse().unwrap()],
            responder_port: 6100,
            links: vec![link("eth0")],
            resolv_conf: "nameserver 10.96.0.10\n".into(),
        }
    }

    fn link(interface: &str) -> PodLink {
        PodLink { interface: interface.into(), addresses: vec!["10.244.1.9".parse().unwrap()] }
    }

    #[test]
    fn what_is_said_is_understood() {
        for frame in [
            Frame::Hello(hello()),
            Frame::Ask(Ask::new(Family::V6, SocketKind::Ping, 3)),
            Frame::Sockets { errno: None },
            Frame::Sockets { errno: Some(13) },
            Frame::Leaving,
            Frame::Refused { why: "no".into() },
        ] {
            assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let long = Hello { pod: "x".repeat(POD_MAX + 1), ..hello() };
        let many = Hello { addresses: vec!["::2".parse().unwrap(); ADDRESSES_MAX + 1], ..hello() };
        for (frame, word) in [
            (Frame::Hello(Hello { version: 2, ..hello() }), "version 2"),
            (Frame::Hello(Hello { pod: String::new(), ..hello() }), "name"),
            (Frame::Hello(Hello { pod: "a\nb".into(), ..hello() }), "name"),
            (Frame::Hello(long), "name"),
            (Frame::Hello(Hello { addresses: Vec::new(), ..hello() }), "addresses"),
            (Frame::Hello(many), "addresses"),
            (Frame::Hello(Hello { links: vec![link("a b")], ..hello() }), "interfaces"),
            (Frame::Hello(Hello { links: vec![link(&"x".repeat(16))], ..hello() }), "interfaces"),
            (Frame::Hello(Hello { links: vec![link("eth0"); LINKS_MAX + 1], ..hello() }), "interfaces"),
            (Frame::Hello(Hello { resolv_conf: "x".repeat(RESOLV_CONF_MAX + 1), ..hello() }), "resolv.conf"),
            (Frame::Ask(Ask { ip_version: 5, kind: SocketKind::Ping, count: 1 }), "IP version"),
            (Frame::Ask(Ask::new(Family::V4, SocketKind::Ping, 0)), "64"),
            (Frame::Ask(Ask::new(Family::V4, SocketKind::Ping, 65)), "64"),
            (Frame::Refused { why: "x".repeat(FRAME_MAX) }, "bytes"),
        ] {
            let error = Frame::decode(&frame.encode()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_older_vantage_says_nothing_of_its_interfaces() {
        let old = br#"{"frame":"hello","version":1,"pod":"p","addresses":["10.0.0.1"],"responder_port":0}"#;
        let Frame::Hello(older) = Frame::decode(old).unwrap() else { panic!("no introduction") };
        assert_eq!(older.interface_of("10.0.0.1".parse().unwrap()), None);
        let said = hello();
        assert_eq!(said.interface_of("10.244.1.9".parse().unwrap()), Some("eth0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frame::decode(&bytes);
        }
    }
}
