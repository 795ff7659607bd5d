use netcheck_common::hash::splitmix64;
use proptest::prelude::*;

use super::search::KNOWN;
use super::*;

const PATH: PathId = PathId(7);
const FLOOR: u16 = 92;
const INTERVAL: u64 = 10 * SECOND_NS;

/// A path on which an ordinary probe leaves every second, and what becomes of packets by their size.
struct Path<F: Fn(u64, u16) -> Fate> {
    sizes: Sizes,
    now_ns: u64,
    route: u16,
    fate: F,
    sent: Vec<u16>,
    last: Option<SizesSeen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Lost,
    RouterMtu(u16),
    Refused,
}

fn router() -> IpAddr {
    "10.0.0.9".parse().unwrap()
}

/// Larger ones than this are lost in silence.
fn hole(border: u16) -> impl Fn(u64, u16) -> Fate {
    move |_, bytes| if bytes > border { Fate::Lost } else { Fate::Passes }
}

impl<F: Fn(u64, u16) -> Fate> Path<F> {
    fn new(route: u16, fate: F) -> Self {
        let mut sizes = Sizes::default();
        sizes.set(INTERVAL, SECOND_NS);
        Self { sizes, now_ns: 100 * SECOND_NS, route, fate, sent: Vec::new(), last: None }
    }

    fn second(&mut self) {
        let (t0_ns, route) = (self.now_ns, self.route);
        let large = self.sizes.next(PATH, FLOOR, t0_ns, || Some(route));
        let ordinary = (self.fate)(t0_ns, FLOOR) == Fate::Passes;
        if let Some(bytes) = large {
            self.sent.push(bytes);
            match (self.fate)(t0_ns, bytes) {
                Fate::Passes => self.sizes.replied(PATH, bytes, t0_ns + 1),
                Fate::Lost => self.sizes.lost(PATH, bytes, t0_ns + 1, t0_ns + SECOND_NS / 2),
                Fate::RouterMtu(mtu) => {
                    assert!(self.sizes.too_big(PATH, bytes, mtu.into(), router(), t0_ns + 1));
                }
                Fate::Refused => self.sizes.refused(PATH, bytes, t0_ns + 1),
            }
        }
        self.sizes.ordinary(PATH, t0_ns, t0_ns + SECOND_NS / 2, ordinary);
        self.now_ns += SECOND_NS;
        self.last = self.sizes.take().pop().or(self.last);
        let trying = self.sizes.paths.values().filter(|search| search.trial.is_some()).count();
        assert_eq!(self.sizes.trials, trying);
    }

    fn run(&mut self, seconds: u64) -> SizesSeen {
        (0..seconds).for_each(|_| self.second());
        self.last.unwrap()
    }
}

#[test]
fn a_healthy_path_costs_one_large_packet_in_ten() {
    let mut path = Path::new(1500, hole(1500));
    let seen = path.run(100);
    assert_eq!((seen.route_bytes, seen.passed_bytes, seen.lost_bytes), (1500, 1500, 0));
    assert_eq!(path.sent, [1500; 10]);
}

#[test]
fn what_did_not_change_is_reported_once_a_minute() {
    let mut path = Path::new(1500, hole(1500));
    let mut reported = 0;
    for _ in 0..180 {
        path.last = None;
        path.second();
        reported += u32::from(path.last.is_some());
    }
    assert_eq!(reported, 3);
}

#[test]
fn borders_are_found() {
    for (border, seconds) in
        [(1499, 60), (1450, 60), (1400, 60), (1404, 60), (1372, 60), (1280, 60), (1123, 90)]
    {
        let mut path = Path::new(1500, hole(border));
        let seen = path.run(seconds);
        assert_eq!((seen.passed_bytes, seen.lost_bytes), (border, border + 1));
    }
    let seen = Path::new(9000, hole(1500)).run(120);
    assert_eq!((seen.passed_bytes, seen.lost_bytes), (1500, 1501));
}

#[test]
fn a_black_hole_is_known_before_its_border() {
    let mut path = Path::new(1500, hole(1400));
    let mut after = 0;
    while path.last.is_none_or(|seen| seen.lost_bytes == 0) {
        path.second();
        after += 1;
        assert!(after <= 16, "a round and a few probes");
    }
    assert_eq!(path.last.unwrap().passed_bytes, FLOOR, "ordinary ones pass");
}

#[test]
fn it_ends_when_large_ones_pass_again_and_moves_with_its_border() {
    let mended_ns = 200 * SECOND_NS;
    let mut path = Path::new(1500, move |now_ns, bytes| {
        let border = if now_ns < mended_ns { 1400 } else { 1450 };
        hole(border)(now_ns, bytes)
    });
    assert_eq!(path.run(90).lost_bytes, 1401);
    path.sizes.take();
    assert_eq!(path.run(30).lost_bytes, 1401, "1500 is still lost, and nothing in between is tried");
    let mut path = Path::new(1500, move |now_ns, bytes| {
        let border = if now_ns < mended_ns { 1450 } else { 1380 };
        hole(border)(now_ns, bytes)
    });
    assert_eq!(path.run(90).lost_bytes, 1451);
    let seen = path.run(60);
    assert_eq!((seen.passed_bytes, seen.lost_bytes), (1380, 1381), "what passed is tried too");
    let mut path = Path::new(1500, move |now_ns, bytes| {
        hole(if now_ns < mended_ns { 1400 } else { 1500 })(now_ns, bytes)
    });
    assert_eq!(path.run(90).lost_bytes, 1401);
    let seen = path.run(25);
    assert_eq!((seen.passed_bytes, seen.lost_bytes), (1500, 0));
}

#[test]
fn a_router_that_reports_is_believed() {
    let mut path =
        Path::new(1500, |_, bytes| if bytes > 1400 { Fate::RouterMtu(1400) } else { Fate::Passes });
    let seen = path.run(30);
    assert_eq!((seen.passed_bytes, seen.lost_bytes, seen.router_mtu), (1400, 0, Some((1400, router()))));
    let mut path = Path::new(1500, |_, bytes| match bytes {
        1401.. => Fate::RouterMtu(1400),
        1301.. => Fate::Lost,
        _ => Fate::Passes,
    });
    let seen = path.run(60);
    assert_eq!((seen.passed_bytes, seen.lost_bytes), (1300, 1301), "a hole below what it reports");
    let mut sizes = Sizes::default();
    sizes.set(INTERVAL, SECOND_NS);
    for mtu in [0, 1500, 1501, 70_000] {
        assert!(!sizes.too_big(PATH, 1500, mtu, router(), 0), "{mtu} makes no sense");
    }
}

#[test]
fn what_the_own_kernel_refuses_is_lost_at_once() {
    let mut path = Path::new(1500, |_, bytes| if bytes > 1492 { Fate::Refused } else { Fate::Passes });
    let seen = path.run(30);
    assert_eq!((seen.passed_bytes, seen.lost_bytes), (1492, 1493));
}

#[test]
fn a_route_that_takes_less_ends_it() {
    let mut path = Path::new(1500, hole(1400));
    assert_eq!(path.run(60).lost_bytes, 1401);
    path.route = 1400;
    let seen = path.run(12);
    assert_eq!((seen.route_bytes, seen.passed_bytes, seen.lost_bytes), (1400, 1400, 0));
}

#[test]
fn a_path_that_answers_nothing_has_no_size() {
    let mut path = Path::new(1500, |_, _| Fate::Lost);
    (0..300).for_each(|_| path.second());
    assert!(path.last.is_none());
    assert!(path.sent.len() <= 60, "{} large ones", path.sent.len());
}

#[test]
fn switched_off_or_forgotten() {
    let mut path = Path::new(1500, hole(1400));
    path.run(60);
    path.sizes.forget(&[PATH]);
    assert!(path.sizes.paths.is_empty());
    path.sizes.set(0, SECOND_NS);
    let sent = path.sent.len();
    (0..30).for_each(|_| path.second());
    assert_eq!(path.sent.len(), sent);
}

#[test]
fn sizes_are_sorted() {
    assert!(KNOWN.is_sorted_by(|a, b| a < b));
}

/// What is lost by chance, whatever its size, is no matter of size. Five hours of each share of losses.
#[test]
fn chance_knows_no_size() {
    for percent in [1, 5, 10, 30, 50, 80] {
        for seed in 0..30u64 {
            let chance = move |now_ns: u64, bytes: u16| {
                let lost = splitmix64(splitmix64(seed) ^ now_ns ^ u64::from(bytes)) % 100 < percent;
                if lost { Fate::Lost } else { Fate::Passes }
            };
            let mut path = Path::new(1500, chance);
            (0..600).for_each(|_| path.second());
            assert_eq!(path.last.map_or(0, |seen| seen.lost_bytes), 0, "{percent} % {seed}");
        }
    }
}

proptest! {
    /// A border is found wherever it lies.
    #[test]
    fn any_border_is_found(border in FLOOR..1500) {
        let mut path = Path::new(1500, hole(border));
        let seen = path.run(150);
        prop_assert_eq!((seen.passed_bytes, seen.lost_bytes), (border, border + 1));
    }
}
