//! The one line that a relay says before it passes bytes on: which node it is of, or why it does not. It proves nothing:
//! that is what TLS between agent and hub is for. The other agent says nothing to the relay.

use std::io;

use netcheck_proto::text::is_name;
use tokio::io::{AsyncRead, AsyncReadExt as _};

const FIRST: &str = "netcheck-relay/1";
/// A node's name has 253 characters at most.
const LINE_MAX: usize = 320;

/// What a relay says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// What follows comes from the hub.
    Through {
        /// The relay's node.
        node: String,
    },
    /// It passes nothing on.
    Refused {
        /// Why.
        why: String,
    },
}

impl Greeting {
    /// The line, with its end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Through { node } => format!("{FIRST} through {node}\n"),
            Self::Refused { why } => format!("{FIRST} refused {why}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.strip_prefix(FIRST)?.strip_prefix(' ')?.split_once(' ')?;
        match word {
            "through" if is_name(rest) => Some(Self::Through { node: rest.to_owned() }),
            "refused" => Some(Self::Refused { why: rest.chars().filter(|c| !c.is_control()).collect() }),
            _ => None,
        }
    }

    /// Reads the line, and nothing of what follows it.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut line = Vec::new();
        loop {
            match stream.read_u8().await? {
                b'\n' => break,
                _ if line.len() == LINE_MAX => return Err(no_relay()),
                byte => line.push(byte),
            }
        }
        std::str::from_utf8(&line).ok().and_then(Self::parse).ok_or_else(no_relay)
    }
}

fn no_relay() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answers there is no relay")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(mut bytes: &[u8]) -> (io::Result<Greeting>, &[u8]) {
        (Greeting::read(&mut bytes).await, bytes)
    }

    #[tokio::test]
    async fn lines_are_read_to_their_end_and_no_further() {
        for greeting in [
            Greeting::Through { node: "n1.example.org".to_owned() },
            Greeting::Refused { why: "it is full".to_owned() },
        ] {
            let bytes = format!("{}\x16\x03\x01", greeting.line());
            let (found, rest) = read(bytes.as_bytes()).await;
            assert_eq!((found.unwrap(), rest), (greeting, &b"\x16\x03\x01"[..]));
        }
        let escape = read(b"netcheck-relay/1 refused \x1b[31mred\n").await.0.unwrap();
        assert_eq!(escape, Greeting::Refused { why: "[31mred".to_owned() });
    }

    proptest! {
        #[test]
        fn whatever_else_answers_is_no_relay(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut all = bytes.as_slice();
            prop_assert!(runtime.block_on(Greeting::read(&mut all)).is_err());
            prop_assert!(bytes.len() - all.len() <= LINE_MAX + 1);
        }
    }
}
