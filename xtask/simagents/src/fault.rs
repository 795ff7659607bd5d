//! What is broken in the simulated network.

use std::fmt;
use std::str::FromStr;

/// A fault, the same for all agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Every probe is answered.
    #[default]
    None,
    /// Every probe to this node is lost, of whatever kind and from wherever.
    LostTo(String),
}

/// Words that name no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fault: say `none` or `lost-to=NODE`")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(words: &str) -> Result<Self, UnknownFault> {
        match words.split_once('=') {
            None if words == "none" => Ok(Self::None),
            Some(("lost-to", node)) if !node.is_empty() => Ok(Self::LostTo(node.to_owned())),
            _ => Err(UnknownFault(words.to_owned())),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::LostTo(node) => write!(f, "lost-to={node}"),
        }
    }
}

impl Fault {
    /// Whether a probe to this target (`node/n1`, `pod/default/web-1`, …) is lost.
    #[must_use]
    pub fn loses(&self, target: &str) -> bool {
        match self {
            Self::None => false,
            Self::LostTo(node) => target.strip_prefix("node/") == Some(node),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written_and_loses_what_it_says() {
        for fault in [Fault::None, Fault::LostTo("n7".to_owned())] {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for words in ["", "lost-to", "lost-to=", "late=n1", "none=1"] {
            assert!(words.parse::<Fault>().is_err(), "{words}");
        }
        let fault = Fault::LostTo("n7".to_owned());
        assert!(fault.loses("node/n7"));
        assert!(!fault.loses("node/n77") && !fault.loses("pod/n7") && !Fault::None.loses("node/n7"));
    }
}
