//! From where a load balancer takes traffic: `loadBalancerSourceRanges` of its service. Pure.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What was written before there was a field, with commas between; it counts where the field is empty.
const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// The ranges of a service. What is none counts for nothing, as load balancers have it.
pub(super) fn sources(meta: &ObjectMeta, spec: &ServiceSpec) -> Vec<IpNet> {
    let range = |text: &str| text.trim().parse().ok();
    let field = spec.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty());
    let noted = || {
        let note = meta.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        note.map_or("", String::as_str).split(',').filter_map(range).collect()
    };
    field.map_or_else(noted, |ranges| ranges.iter().filter_map(|text| range(text)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_goes_before_the_note_and_what_is_no_range_counts_for_nothing() {
        let of = |field: &[&str], note: &str| -> Vec<String> {
            let meta = serde_json::from_value(json!({"annotations": {ANNOTATION: note}})).unwrap();
            let spec = serde_json::from_value(json!({"loadBalancerSourceRanges": field})).unwrap();
            sources(&meta, &spec).iter().map(ToString::to_string).collect()
        };
        assert_eq!(of(&[" 10.0.0.0/8", "::/0"], "192.0.2.0/24"), ["10.0.0.0/8", "::/0"]);
        assert_eq!(of(&[], "192.0.2.0/24, fd00::/8"), ["192.0.2.0/24", "fd00::/8"]);
        for text in ["", "10.0.0.0", "10.0.0.0/33", "fd00::/129", "all/0", "10.0.0.0/-1"] {
            assert!(of(&[text], "").is_empty(), "{text}");
        }
    }
}
