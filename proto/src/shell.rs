//! Names in commands that people are shown, to paste them into a shell. Pure.

use std::borrow::Cow;

/// A name as one word of a shell (POSIX.1-2017, XCU 2.2): as it is where none of its characters means anything to a shell, else
/// in single quotes. Names of interfaces, chains and tables may have any character; a pod names its own as it likes.
#[must_use]
pub fn word(name: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./:@%+=,".contains(character);
    if !name.is_empty() && name.chars().all(plain) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("'{}'", name.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod forms;

#[cfg(test)]
mod tests {
    use super::forms::{commands, pasteable};
    use super::*;

    #[test]
    fn a_name_is_one_word_whatever_is_in_it() {
        for (name, expected) in [
            ("eth0", "eth0"),
            ("flannel.1", "flannel.1"),
            ("fd00::1/64", "fd00::1/64"),
            ("", "''"),
            (";reboot", "';reboot'"),
            ("$(id)", "'$(id)'"),
            ("it's", r"'it'\''s'"),
            ("élan", "'élan'"),
        ] {
            assert_eq!(word(name), expected);
            pasteable(&format!("ip -s link show {}", word(name)));
        }
    }

    #[test]
    fn what_can_not_be_pasted_is_found() {
        for wrong in [
            "nft -a list chain ip filter INPUT (or: iptables -t filter -S INPUT)",
            "sysctl net.ipv4.conf.flannel.1.rp_filter",
            "ip -s link; frobnicate",
            "ip xfrm policy delete src any dst any dir in",
            "nft list ruleset || iptables-save",
            "kubectl get node  -o wide",
        ] {
            assert!(std::panic::catch_unwind(|| pasteable(wrong)).is_err(), "{wrong}");
        }
        pasteable("nft -a list chain ip filter INPUT # or: iptables -t filter -S INPUT");
        assert_eq!(commands("unless it is meant: ip rule del pref 90"), ["ip rule del pref 90"]);
        assert_eq!(commands("ip link set eth0 up, and the routes"), ["ip link set eth0 up"]);
        assert_eq!(commands("start the program, or correct the port"), Vec::<&str>::new());
    }
}
