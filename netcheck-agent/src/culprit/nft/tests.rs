//! On what Linux 6.18 sent (`recorded.txt`: one message a line, in hex), and on garbage.

use proptest::prelude::*;

use super::attributes::messages;
use super::event::{TraceEvent, Verdict};
use super::owner::owner;
use super::request::{self, Layer, Mark, Matching};
use super::rule::Rule;
use super::trace::{Ended, EndedBy, Ways};

fn recorded(kind: &str) -> Vec<Vec<u8>> {
    let lines = include_str!("tests/recorded.txt").lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(other, _)| *other == kind).map(|(_, hex)| unhex(hex)).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn read(datagram: &[u8]) -> Option<Rule> {
    let (family, attributes) = messages(datagram).next()?.netfilter()?;
    Some(Rule::read(family, attributes))
}

#[test]
fn rules_are_described_in_the_words_of_nft() {
    let expected = [
        (
            "meta nfproto ipv4 ip saddr 10.0.0.0/24 ip daddr 10.1.2.3 meta l4proto tcp tcp dport 80 \
             counter packets 0 bytes 0 drop",
            "no web",
        ),
        ("ct state invalid drop", ""),
        ("ct state established,related accept", ""),
        (
            "iifname \"eth0\" meta mark & 0xff00 == 0x100 meta nfproto ipv6 ip6 daddr fd00::/64 \
             meta l4proto udp udp sport >= 53 udp sport <= 60 reject",
            "",
        ),
        (
            "meta nfproto ipv4 ip protocol icmp icmp type 8 meta length > 1200 limit … log prefix \"hm \" jump other",
            "",
        ),
        ("meta nfproto ipv4 ip saddr @__set0 th dport != 6100 drop", ""),
        ("meta iiftype 1 ether saddr 02:00:00:00:00:01 numgen random mod 100 < 30 drop", ""),
        ("meta l4proto tcp tcp flags & 0x12 == 0x2 meta nfproto ipv4 ip saddr . tcp dport vmap @__map0", ""),
        ("fib … 0 drop", ""),
    ];
    let rules: Vec<Rule> = recorded("rule").iter().map(|bytes| read(bytes).unwrap()).collect();
    let texts: Vec<(&str, &str)> =
        rules.iter().map(|rule| (rule.text.as_str(), rule.comment.as_str())).collect();
    assert_eq!(texts, expected);
    assert_eq!(rules.iter().filter(|rule| rule.rejects).count(), 1);
}

fn events() -> Vec<TraceEvent> {
    recorded("trace")
        .iter()
        .flat_map(|bytes| messages(bytes).filter_map(|one| TraceEvent::read(&one)).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_trace_is_read_step_by_step() {
    let steps: Vec<_> = events()
        .into_iter()
        .map(|event| (event.table, event.chain, event.handle, event.verdict, event.packet.is_some()))
        .collect();
    let step = |table: &str, chain: &str, handle, verdict, packet| {
        (table.to_owned(), chain.to_owned(), handle, verdict, packet)
    };
    assert_eq!(
        steps,
        [
            step("t", "pre", 2, Verdict::On, true),
            step("t", "pre", 0, Verdict::On, false),
            step("t", "pre", 0, Verdict::Accept, false),
            step("z", "c", 3, Verdict::To("d".to_owned()), true),
            step("z", "d", 4, Verdict::Drop, false),
        ]
    );
}

/// The recorded trace, as if the first table were the search's own.
fn ways(change_id: bool) -> Vec<Vec<Ended>> {
    let mut ways = Ways::new("t", 2);
    for (at, mut event) in events().into_iter().enumerate() {
        if event.table == "t" {
            event.chain = "case1-prerouting".to_owned();
        } else if change_id {
            event.id ^= 1;
        }
        assert_eq!(ways.found(), usize::from(at > 4));
        ways.take(event);
    }
    ways.end().0
}

#[test]
fn a_packet_keeps_its_case_from_hook_to_hook() {
    for change_id in [false, true] {
        let ended = ways(change_id);
        assert_eq!(ended[0], []);
        let [one] = ended[1].as_slice() else { panic!("{ended:?}") };
        assert_eq!((one.family, one.table.as_str(), one.chain.as_str(), one.handle), (1, "z", "d", 4));
        assert_eq!(one.through, ["c"]);
    }
}

#[test]
fn what_a_rule_did_with_a_packet_is_kept() {
    for (verdict, how) in [
        (Verdict::Drop, Some(EndedBy::Drop)),
        (Verdict::Queue, Some(EndedBy::Queue)),
        (Verdict::Stolen, Some(EndedBy::Stolen)),
        (Verdict::Accept, None),
    ] {
        let mut ways = Ways::new("t", 2);
        for mut event in events() {
            if event.table == "t" {
                event.chain = "case1-prerouting".to_owned();
            } else if event.verdict == Verdict::Drop {
                event.verdict = verdict.clone();
            }
            ways.take(event);
        }
        let (ended, passed) = ways.end();
        assert_eq!(ended[1].first().map(|one| one.how), how);
        assert!(passed[1].iter().all(|one| one.how == EndedBy::Altered && one.handle != 0), "{passed:?}");
        assert_eq!(passed[1].iter().any(|one| one.chain == "d"), how.is_none(), "{passed:?}");
    }
}

#[test]
fn a_stranger_s_packet_is_nobodys() {
    let mut ways = Ways::new("another", 2);
    events().into_iter().for_each(|event| ways.take(event));
    assert_eq!(ways.end().0, [vec![], vec![]]);
}

#[test]
fn owners_are_known_by_names() {
    for (table, chain, comment, expected) in [
        ("filter", "KUBE-FORWARD", "", Some("kube-proxy")),
        ("filter", "KUBE-FIREWALL", "", Some("kubelet")),
        ("filter", "KUBE-POD-FW-ABC", "", Some("kube-router")),
        ("kube-proxy", "service-ABC", "", Some("kube-proxy")),
        ("filter", "cali-tw-cali123", "", Some("Calico")),
        ("filter", "FORWARD", "cali:S93hcgKJrXEqnTfs", Some("Calico")),
        ("filter", "CILIUM_FORWARD", "", Some("Cilium")),
        ("flannel-ipv4", "forward", "", Some("flannel")),
        ("filter", "DOCKER-ISOLATION-STAGE-2", "", Some("Docker")),
        ("firewalld", "filter_FORWARD_POLICIES", "", Some("firewalld")),
        ("filter", "ufw6-user-input", "", Some("ufw")),
        ("filter", "FORWARD", "kubernetes", None),
        ("mine", "forward", "", None),
    ] {
        assert_eq!(owner(table, chain, comment).map(|owner| owner.name), expected, "{table} {chain}");
    }
}

fn marks() -> Vec<Vec<Mark>> {
    let flow = Matching::Flow {
        tcp: true,
        source: "[fd00::1]:0".parse().unwrap(),
        destination: "[fd00::2]:80".parse().unwrap(),
    };
    let path = Matching::Path { session: 5, path: 7 };
    let mark = |matching, encapsulated| Mark { matching, encapsulated };
    vec![vec![mark(path, false), mark(path, true)], vec![mark(flow, false), mark(flow, true)]]
}

#[test]
fn the_table_is_the_sockets_own_and_marks_by_rule() {
    let (batch, last) = request::table("netcheck_trace_1", &Layer::Ip, &marks());
    let all: Vec<_> = messages(&batch).collect();
    assert_eq!(all.iter().map(|message| message.kind & 0xff).next(), Some(16), "a batch begins");
    let of = |kind: u16| all.iter().filter(|message| message.kind == 10 << 8 | kind).collect::<Vec<_>>();
    let (tables, chains, rules) = (of(0), of(3), of(6));
    assert_eq!((tables.len(), chains.len()), (1, 4));
    // Three of a path (bare, and in a tunnel in two families), four of a flow (both ways, bare and in a tunnel).
    assert_eq!(rules.len(), 2 * (3 + 4));
    let (_, attributes) = tables[0].netfilter().unwrap();
    assert_eq!(attributes.number(2), Some(2), "NFT_TABLE_F_OWNER");
    assert_eq!(all[all.len() - 2].sequence, last);
    let (family, attributes) = rules[0].netfilter().unwrap();
    let rule = Rule::read(family, attributes);
    let expected =
        "@th,64,64 0xb76e657463686b01 @th,192,96 0x000000000000000500000007 limit … meta nftrace set 0x01";
    assert_eq!(rule.text, expected);
    assert_eq!(request::case_of("case1-prerouting"), Some(1));
    assert_eq!(request::case_of("prerouting"), None);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for message in messages(&bytes) {
            let _ = TraceEvent::read(&message);
            let _ = message.errno();
            if let Some((family, attributes)) = message.netfilter() {
                let _ = Rule::read(family, attributes);
            }
        }
    }

    #[test]
    fn what_is_damaged_never_panics(at in any::<usize>(), byte in any::<u8>(), which in any::<usize>(), cut in any::<usize>()) {
        let all = [recorded("rule"), recorded("trace")].concat();
        let mut bytes = all[which % all.len()].clone();
        let place = at % bytes.len();
        bytes[place] = byte;
        let length = 16 + cut % bytes.len();
        if cut % 2 == 0 {
            bytes.truncate(length);
        }
        let mut ways = Ways::new("t", 1);
        for message in messages(&bytes) {
            if let Some(event) = TraceEvent::read(&message) {
                ways.take(event);
            }
            if let Some((family, attributes)) = message.netfilter() {
                let _ = Rule::read(family, attributes);
            }
        }
    }
}
