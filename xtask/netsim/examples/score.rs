//! Scores the explainer on random cases: `--cases N --seed S [--faults F] [--show SEED] [--truth]`.
//! `--truth` hands back the truth: a test of the judge.

use netcheck_netsim::judge::truth_as_answer;
use netcheck_netsim::{Case, Scores};

fn main() {
    let options: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| -> Option<u64> {
        let at = options.iter().position(|it| it == name)?;
        options.get(at + 1)?.parse().ok()
    };
    let faults = option("--faults").and_then(|it| usize::try_from(it).ok());
    let truth = options.iter().any(|it| it == "--truth");
    let explain = |case: &Case| {
        if truth { truth_as_answer(case) } else { netcheck_causes::explain(&case.topology, &case.groups) }
    };
    if let Some(seed) = option("--show") {
        let case = Case::draw(seed, faults.unwrap_or(1));
        println!("{}", case.describe(&explain(&case)));
        return;
    }
    let first = option("--seed").unwrap_or(1);
    let seeds = first..first + option("--cases").unwrap_or(500);
    print!("{}", Scores::measure(seeds, faults.map_or(0..=3, |it| it..=it), explain));
}
