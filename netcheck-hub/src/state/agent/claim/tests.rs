use super::*;

const ONE: &str = "boot-one";
const OTHER: &str = "boot-other";

fn peer(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4000))
}

fn holder(boot_id: &str, heard_ns: i64) -> Option<Holder<'_>> {
    Some(Holder { boot_id, peer: Some(peer(1)), heard_ns })
}

/// Second and boot.
type Hello = (i64, &'static str);

/// These say hello while the one before is connected and speaks: who is admitted.
fn hellos(claims: &mut Claims, hellos: &[Hello]) -> Vec<bool> {
    let mut has = None;
    let admit = |&(second, boot): &Hello| {
        let now_ns = second * SECOND_NS;
        let admitted = claims.claim(boot, Some(peer(2)), has.and_then(|has| holder(has, now_ns)), now_ns);
        if admitted {
            has = Some(boot);
        }
        admitted
    };
    hellos.iter().map(admit).collect()
}

#[test]
fn who_gets_the_name() {
    let rows: [(&str, &[Hello], &[bool]); 6] = [
        ("a restart", &[(0, ONE), (5, OTHER)], &[true, true]),
        ("a crash loop", &[(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")], &[true; 5]),
        ("a new connection", &[(0, ONE), (1, ONE), (2, ONE), (3, ONE), (4, ONE)], &[true; 5]),
        (
            "two that live: the first keeps it",
            &[(0, ONE), (1, OTHER), (2, ONE), (3, OTHER), (5, OTHER), (8, ONE)],
            &[true, true, true, false, false, true],
        ),
        (
            "three that live: the first gets it back",
            &[(0, ONE), (1, OTHER), (2, "third"), (3, ONE), (4, OTHER), (5, "third")],
            &[true, true, true, true, false, false],
        ),
        (
            "so seldom that each could be the only one",
            &[(0, ONE), (20, OTHER), (40, ONE), (60, OTHER)],
            &[true; 4],
        ),
    ];
    for (what, said, expected) in rows {
        assert_eq!(hellos(&mut Claims::default(), said), expected, "{what}");
    }
}

fn contested() -> Claims {
    let mut claims = Claims::default();
    hellos(&mut claims, &[(0, ONE), (1, OTHER), (2, ONE), (3, OTHER)]);
    assert_eq!(
        claims.contest(),
        Some(&Contest { since_ns: 3 * SECOND_NS, last_ns: 3 * SECOND_NS, rival: Some(peer(2)), refused: 1 })
    );
    claims
}

#[test]
fn one_that_is_gone_or_silent_gives_way_and_the_other_keeps_it_then() {
    let now_ns = 20 * SECOND_NS;
    assert!(contested().claim(OTHER, None, None, now_ns), "gone");
    assert!(!contested().claim(OTHER, None, holder(ONE, now_ns - SILENT_NS), now_ns), "speaks");
    let mut claims = contested();
    assert!(claims.claim(OTHER, None, holder(ONE, now_ns - SILENT_NS - 1), now_ns), "silent");
    assert!(!claims.claim(ONE, Some(peer(3)), holder(OTHER, now_ns), now_ns), "no more to and fro");
    assert_eq!(claims.contest().unwrap().rival, Some(peer(3)));
}

#[test]
fn a_contest_is_over_when_nobody_tries_any_more() {
    let mut claims = contested();
    let last_ns = 100 * SECOND_NS;
    assert!(!claims.claim(OTHER, None, holder(ONE, last_ns), last_ns));
    claims.forget(last_ns + QUIET_NS);
    assert!(claims.contest().is_some());
    claims.forget(last_ns + QUIET_NS + 1);
    assert_eq!(claims.contest(), None);
    assert!(claims.claim(OTHER, None, holder(ONE, last_ns), last_ns), "a restart as any other");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut claims = Claims::default();
    for number in 0..1000 {
        let (old, new) = (format!("boot-{number}"), format!("boot-{}", number + 1));
        assert!(claims.claim(&new, None, holder(&old, 0), 0));
    }
    assert_eq!(claims.displaced.len(), REMEMBERED);
}
