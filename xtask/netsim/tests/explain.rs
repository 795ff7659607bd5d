//! The explainer on fixed seeds. What it must reach on thousands is printed by `cargo xtask bench causes`; here a few hundred
//! keep it from getting worse.

use netcheck_causes::{Component, Heading, Pattern, explain};
use netcheck_netsim::rng::Rng;
use netcheck_netsim::{Case, Scores, permute};

/// The least that must be exact, of a hundred, by number of faults: a little below what is reached on these seeds. The
/// aims are 99 for one, 97 for two and 93 for three.
const FLOORS: [f64; 4] = [100.0, 96.0, 90.0, 84.0];

fn scores(faults: usize) -> Scores {
    Scores::measure(1..61, faults..=faults, |case| explain(&case.topology, &case.groups))
}

/// The seeds draw so many faults; some of them are hidden by others, and are counted with the fewer.
#[test]
fn names_the_true_causes() {
    for (faults, floor) in FLOORS.into_iter().enumerate() {
        let scores = scores(faults);
        for (count, row) in &scores.by_count {
            assert_eq!(row.observed_and_false, 0, "{faults} faults drawn, {count} shown:\n{scores}");
        }
        let row = &scores.by_count[&faults];
        assert!(row.exact() >= floor, "{faults} faults: {:.1} < {floor}\n{scores}", row.exact());
    }
}

/// Other numbers, another order: the same causes.
#[test]
fn renumbering_changes_no_answer() {
    for seed in 1..31 {
        for faults in 1..=2 {
            let case = Case::draw(seed, faults);
            let (topology, groups, new) = permute(&case.topology, &case.groups, &mut Rng::new(seed));
            let before = explain(&case.topology, &case.groups);
            let mut before: Vec<(Component, Heading, Pattern)> =
                before.iter().map(|cause| new.cause(cause)).collect();
            let after = explain(&topology, &groups);
            let mut after: Vec<_> = after.iter().map(|it| (it.component, it.heading, it.pattern)).collect();
            before.sort_unstable();
            after.sort_unstable();
            assert_eq!(before, after, "seed {seed}, {faults} faults");
        }
    }
}
