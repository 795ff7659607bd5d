//! The culprits that an incident names, and whether the row's is among them. Pure.

use super::judge::Grade;
use super::table::Row;
use crate::cluster::Incident;

/// How well the row's object is named, and what was named otherwise. Nothing where the row does not say which.
pub(crate) fn grade(row: &Row, incidents: &[Incident]) -> Option<(Grade, Vec<String>)> {
    if row.culprit.is_empty() {
        return None;
    }
    let open = incidents.iter().filter(|one| one.open);
    let named: Vec<&String> = open.flat_map(|one| &one.culprits).collect();
    let is_of = |wanted: &str, culprit: &str| {
        wanted.split(' ').all(|word| word.split('|').any(|choice| culprit.contains(choice)))
    };
    let wanted: Vec<&str> = row.culprit.split(" + ").collect();
    let fits = |culprit: &&String| wanted.iter().any(|one| is_of(one, culprit));
    let is_named = |one: &&str| named.iter().any(|culprit| is_of(one, culprit));
    let unknown = |culprit: &&String| culprit.starts_with("untold");
    let others: Vec<&String> = named.iter().copied().filter(|one| !fits(one) && !unknown(one)).collect();
    let grade = match (wanted.iter().all(is_named), others.is_empty()) {
        (true, true) => Grade::Right,
        // Nobody named it, and nobody named another.
        (false, true) => Grade::Unknown,
        (_, false) => Grade::Wrong,
    };
    let notes = match grade {
        Grade::Right => Vec::new(),
        _ => vec![format!("{grade}: culprit `{}` wanted, named are {named:?}", row.culprit)],
    };
    Some((grade, notes))
}

#[cfg(test)]
mod tests {
    use super::super::table::RowSet;
    use super::*;

    #[test]
    fn the_object_must_be_named_and_no_other() {
        let row = RowSet::Culprits.rows()[0];
        let graded = |culprits: &[&str]| {
            let incident = Incident {
                id: "a".to_owned(),
                kind: "place".to_owned(),
                open: true,
                cause: String::new(),
                merged_into: String::new(),
                headline: String::new(),
                evidence: Vec::new(),
                culprits: culprits.iter().map(|one| (*one).to_owned()).collect(),
            };
            grade(&row, &[incident]).map(|(grade, _)| grade)
        };
        let right = "routing_rule n3 route blackhole 0.0.0.0/0 in table 99, to which ip rule 100 leads";
        assert_eq!(graded(&[right]), Some(Grade::Right));
        assert_eq!(graded(&[right, "untold n1 "]), Some(Grade::Right));
        assert_eq!(graded(&[]), Some(Grade::Unknown));
        assert_eq!(graded(&[right, "sysctl n2 net.ipv4.ip_forward = 0"]), Some(Grade::Wrong));
    }
}
