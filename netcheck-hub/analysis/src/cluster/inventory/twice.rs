//! Objects that a file has twice: at two times, as lists that were made one after the other have them; or one that took
//! another's place; or those of two clusters, of which a file must not have the lists. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use netcheck_proto::text;

use crate::cluster::roster::Objects;

/// Objects that a cluster has one of, for as long as it is there: kind, namespace, name.
const LASTING: [(&str, Option<&str>, &str); 2] =
    [("Service", Some("default"), "kubernetes"), ("Namespace", None, "kube-system")];

/// What of a file was there twice under different uids.
#[derive(Debug, Default)]
pub(super) struct Twice {
    /// Objects in whose place a later one counts.
    replaced: u64,
    /// The first of them.
    first: String,
    /// One of [`LASTING`] with two uids.
    clusters: Option<String>,
}

impl Twice {
    /// Whether an object is the other one at a later time, or what took its place; none where they are two.
    pub(super) fn later(&mut self, kind: &str, object: &ObjectMeta, known: &ObjectMeta) -> Option<bool> {
        if object.uid.as_ref()? == known.uid.as_ref()? {
            let version = |meta: &ObjectMeta| meta.resource_version.as_deref()?.parse::<u64>().ok();
            return Some(version(object) >= version(known));
        }
        let (name, namespace) = (object.name.as_deref().unwrap_or_default(), object.namespace.as_deref());
        let called =
            || namespace.map_or_else(|| format!("{kind} {name}"), |within| format!("{kind} {within}/{name}"));
        if LASTING.contains(&(kind, namespace, name)) {
            self.clusters.get_or_insert_with(called);
        }
        // Only one object can have a name at a time: what was made later was made after the other had been deleted.
        let (made, before) = (object.creation_timestamp.as_ref()?, known.creation_timestamp.as_ref()?);
        if made.0 == before.0 {
            return None;
        }
        if self.replaced == 0 {
            self.first = called();
        }
        self.replaced += 1;
        Some(made.0 > before.0)
    }

    /// Says so in one line.
    pub(super) fn report(self, objects: &mut Objects) {
        let Self { replaced, first, clusters } = self;
        let line = match (clusters, replaced) {
            (Some(lasting), _) => {
                // Nobody knows of which cluster the addresses are that count.
                objects.missing += replaced.max(1);
                format!(
                    "lists are of two clusters ({lasting} has two uids): of objects that both have, {replaced} of one \
                     cluster count for nothing; make a file for each cluster"
                )
            }
            (None, 0) => return,
            (None, 1) => format!(
                "{first} has two uids, of which the later one counts: lists of two times are read so, lists of two \
                 clusters must not be in one file"
            ),
            (None, _) => format!(
                "{replaced} objects have two uids (such as {first}), of which the later one counts: lists of two times \
                 are read so, lists of two clusters must not be in one file"
            ),
        };
        objects.left_out.add_first(text::line(&line));
    }
}
