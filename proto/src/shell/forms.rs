//! For the tests of all that says a command: whether it can be pasted into a shell, and its tool knows it in that form.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// How the tools are called. A word in capitals stands for one that differs, `*` for any number of them.
const FORMS: &[&str] = &[
    "bpftool net show dev INTERFACE",
    "bpftool prog show id N",
    "bridge -d link show dev INTERFACE",
    "bridge fdb add ADDRESS dev INTERFACE master static",
    "bridge fdb del ADDRESS dev INTERFACE master",
    "bridge fdb show br BRIDGE",
    "bridge fdb show brport INTERFACE",
    "bridge fdb show dev INTERFACE",
    "bridge link set dev INTERFACE *",
    "bridge link",
    "conntrack -L",
    "conntrack -S",
    "ebtables-legacy -L --Lc",
    "fail2ban-client banned",
    "firewall-cmd --list-all-zones",
    "grep WORD",
    "ip -4 neigh show nud all",
    "ip -6 addr show dadfailed",
    "ip -6 addr show dev INTERFACE",
    "ip -6 addr show tentative",
    "ip -6 neigh show ADDRESS",
    "ip -6 neigh show nud all",
    "ip -6 route del KIND NETWORK table TABLE",
    "ip -6 route get ADDRESS",
    "ip -6 route show NETWORK table TABLE",
    "ip -6 route show",
    "ip -6 route",
    "ip -6 rule del pref N",
    "ip -6 rule show",
    "ip -6 rule",
    "ip -br addr",
    "ip -d link show INTERFACE",
    "ip -d link",
    "ip -s link show INTERFACE",
    "ip -s link",
    "ip addr del ADDRESS dev INTERFACE",
    "ip addr show dev INTERFACE",
    "ip addr show to ADDRESS",
    "ip addr",
    "ip link set INTERFACE arp on",
    "ip link set INTERFACE master BRIDGE",
    "ip link set INTERFACE mtu N",
    "ip link set INTERFACE up",
    "ip link show INTERFACE",
    "ip neigh del ADDRESS dev INTERFACE",
    "ip neigh show ADDRESS dev INTERFACE",
    "ip neigh show ADDRESS",
    "ip neigh",
    "ip route del KIND NETWORK table TABLE",
    "ip route get ADDRESS",
    "ip route show NETWORK table TABLE",
    "ip route show table all",
    "ip route show",
    "ip route",
    "ip rule del pref N",
    "ip rule show",
    "ip rule",
    "ip xfrm policy delete src NETWORK dst NETWORK dir WAY",
    "ip xfrm policy delete src NETWORK dst NETWORK proto N dir WAY",
    "ip xfrm policy list dir WAY",
    "ip xfrm policy",
    "ip xfrm state",
    "ip6tables -t TABLE -S CHAIN",
    "ip6tables-legacy -t TABLE -nvL CHAIN",
    "ip6tables-legacy-save",
    "iptables -t TABLE -S CHAIN",
    "iptables-legacy -t TABLE -nvL CHAIN",
    "iptables-legacy-save",
    "kubectl -n NAMESPACE describe pod POD",
    "kubectl -n NAMESPACE exec WHERE -- *",
    "kubectl -n NAMESPACE get cm",
    "kubectl -n NAMESPACE get endpointslices -l LABEL",
    "kubectl -n NAMESPACE get pods -o wide",
    "kubectl -n NAMESPACE logs POD",
    "kubectl get networkpolicies -A",
    "kubectl get node NODE -o wide",
    "kubectl get nodes -o wide",
    "kubectl get pods -A -o wide --field-selector NODE",
    "kubectl netcheck explain ID",
    "kubectl netcheck explain SOURCE TARGET",
    "kubectl netcheck path SOURCE TARGET",
    "kubectl netcheck report -v",
    "lsmod",
    "modprobe MODULE",
    "nft -a list chain FAMILY TABLE CHAIN",
    "nft -a list ruleset",
    "nft chain FAMILY TABLE CHAIN '{ policy accept; }'",
    "nft delete rule FAMILY TABLE CHAIN handle N",
    "nft list ruleset FAMILY",
    "nft list ruleset",
    "nmcli connection show",
    "ping -c 3 -M do -s BYTES ADDRESS",
    "ss -lntp sport = PORT",
    "ss -lntup",
    "ss -lnup sport = PORT",
    "sysctl -w SETTING",
    "sysctl NAME NAME",
    "sysctl NAME",
    "tc -s filter show dev INTERFACE WAY",
    "tc -s qdisc show dev INTERFACE",
    "tc qdisc del dev INTERFACE parent CLASS",
    "tc qdisc del dev INTERFACE root",
    "ufw status verbose",
    "virsh net-list --all",
    "wc -l",
];

/// # Panics
/// If a shell can't read the line, or a tool does not know a command of it in that form.
pub(crate) fn pasteable(line: &str) {
    let mut shell =
        Command::new("sh").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let read = shell.wait_with_output().unwrap();
    assert!(read.status.success(), "{line}\n{}", String::from_utf8_lossy(&read.stderr));
    assert!(!line.contains("||"), "a tool that says nothing has not failed: {line}");
    for command in split(line) {
        let inside = command.strip_prefix("nsenter -t ").and_then(|rest| rest.split_once(" -n "));
        let command = inside.map_or(command, |(_, command)| command);
        let words = words(command);
        assert!(
            FORMS.iter().any(|form| fits(form, &words)),
            "no tool is known to take {command:?} of {line:?}"
        );
        if words[0] == "sysctl" {
            // A dot may be part of an interface's name: what has one in its path is said with slashes.
            let dotted = words.iter().find(|word| word.contains(".conf."));
            assert_eq!(dotted, None, "an interface's name may have a dot: {line}");
        }
    }
}

/// Commands in a sentence, each from the name of its tool to the next comma or parenthesis: they stand at its beginning, or after a
/// colon.
pub(crate) fn commands(sentence: &str) -> Vec<&str> {
    let tools: Vec<&str> =
        FORMS.iter().filter_map(|form| form.split(' ').next()).chain(["nsenter"]).collect();
    let starts = std::iter::once(0).chain(sentence.match_indices(": ").map(|(at, colon)| at + colon.len()));
    let rest = starts.map(|at| &sentence[at..]);
    let rest = rest.filter(|rest| tools.iter().any(|tool| rest.split(' ').next() == Some(tool)));
    rest.map(|rest| rest.split([',', '(']).next().unwrap_or(rest).trim_end()).collect()
}

fn split(line: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, character) in line.char_indices() {
        match character {
            '\'' => quoted = !quoted,
            '#' if !quoted => {
                parts.push(&line[start..at]);
                return parts.into_iter().map(str::trim).collect();
            }
            ';' | '|' | '\n' if !quoted => {
                parts.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&line[start..]);
    parts.into_iter().map(str::trim).collect()
}

/// Quotes keep a word together. What a redirection throws away does not matter.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in command.trim_end_matches(" 2>/dev/null").chars() {
        quoted ^= character == '\'';
        if character == ' ' && !quoted {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(character);
        }
    }
    words.push(word);
    words
}

fn fits(form: &str, words: &[String]) -> bool {
    let form = self::words(form);
    let open = form.last().is_some_and(|last| last == "*");
    let fixed = &form[..form.len() - usize::from(open)];
    let right = if open { words.len() > fixed.len() } else { words.len() == fixed.len() };
    let capitals = |word: &str| word.chars().all(|letter| letter.is_ascii_uppercase());
    let same = |(form, word): (&String, &String)| {
        if capitals(form) { !word.is_empty() && word != "any" } else { form == word }
    };
    right && fixed.iter().zip(words).all(same)
}
