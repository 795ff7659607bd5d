//! Ingresses and Gateways of the API: only where they are asked for, and where the API has them.

use netcheck_analysis::cluster::roster::ProbeAnnotation;
use netcheck_hub::inventory::kubernetes::Access;
use netcheck_kubefake::{FakeApi, Resource};
use serde_json::{Value, json};

use crate::rig::{Rig, cluster, from_file};

fn ingress(name: &str, annotations: &Value, address: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "namespace": "default", "annotations": annotations },
        "spec": { "rules": [{ "host": format!("{name}.test") }] },
        "status": { "loadBalancer": { "ingress": [{ "ip": address }] } },
    })
}

fn gateway(address: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "front", "namespace": "default" },
        "spec": { "listeners": [{ "name": "web", "port": 80, "protocol": "HTTP" }] },
        "status": { "addresses": [{ "value": address }] },
    })
}

fn route(host: &str) -> Value {
    let conditions = json!([{ "type": "Accepted", "status": "True" }]);
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "shop", "namespace": "default" },
        "spec": { "hostnames": [host], "parentRefs": [{ "name": "front" }] },
        "status": { "parents": [{ "parentRef": { "name": "front" }, "conditions": conditions }] },
    })
}

async fn following(prepare: impl FnOnce(&FakeApi)) -> Rig {
    let both = |access| Access { ingresses: true, gateways: true, ..access };
    Rig::start_as(both, |fake| {
        fake.load(&cluster());
        prepare(fake);
    })
    .await
}

#[tokio::test]
async fn ingresses_come_change_and_go() {
    let rig =
        following(|fake| fake.apply(ingress("a", &json!({ "netcheck.io/probe": "true" }), "192.0.2.1")))
            .await;
    let address = |name: &'static str, address: &'static str| {
        move |state: &netcheck_hub::state::State| {
            let found = state.roster.frontends.get(name).and_then(|of| of.addresses.first());
            found.is_some_and(|found| found.to_string() == address)
        }
    };
    rig.until("the first one", address("ingress default/a", "192.0.2.1")).await;
    assert_eq!(rig.hub.lock().roster.frontends["ingress default/a"].annotation, ProbeAnnotation::Probe);
    rig.fake.apply(ingress("b", &json!({ "netcheck.io/probe": "maybe" }), "192.0.2.2"));
    rig.until("another one", address("ingress default/b", "192.0.2.2")).await;
    assert!(rig.hub.lock().roster.misannotated.contains("ingress default/b"));
    rig.fake.edit(Resource::Ingresses, "default", "a", |object| {
        object["status"]["loadBalancer"]["ingress"][0]["ip"] = json!("192.0.2.9");
    });
    rig.until("a change", address("ingress default/a", "192.0.2.9")).await;
    // Too old to go on from.
    rig.fake.faults(|faults| faults.hold(Resource::Ingresses));
    assert!(rig.fake.delete(Resource::Ingresses, "default", "b"));
    rig.fake.compact();
    rig.fake.faults(|faults| faults.release(Resource::Ingresses, false));
    rig.until("one less", |state| !state.roster.frontends.contains_key("ingress default/b")).await;
    rig.until_called("list", "networking.k8s.io/ingresses", 2).await;
    rig.until_fine().await;
    // The same as from a file.
    let mut list = cluster();
    list["items"].as_array_mut().unwrap().push(rig.fake.get(Resource::Ingresses, "default", "a").unwrap());
    assert_eq!(*rig.hub.lock().roster, from_file(&list));
}

#[tokio::test]
async fn what_does_not_hold_together_or_is_not_allowed_costs_nothing_else() {
    let rig = following(|fake| {
        fake.apply(ingress("a", &json!({}), "192.0.2.1"));
        fake.apply(ingress("bad", &json!({}), "somewhere"));
    })
    .await;
    rig.until("the good one", |state| state.roster.frontends.contains_key("ingress default/a")).await;
    rig.until("a caveat", |state| state.caveats().iter().any(|line| line.contains("ingress default/bad")))
        .await;
    let denied = following(|fake| fake.faults(|faults| faults.deny("list", Resource::Ingresses))).await;
    denied.until_read().await;
    denied.trouble(&["not allowed to list ingresses", "networking.k8s.io"]).await;
}

#[tokio::test]
async fn gateways_are_waited_for_without_a_fuss() {
    let rig = following(|fake| {
        fake.faults(|faults| {
            faults.missing(Resource::Gateways, true);
            faults.missing(Resource::HttpRoutes, true);
        });
    })
    .await;
    rig.until_read().await;
    rig.until_called("list", "gateway.networking.k8s.io/gateways", 3).await;
    let is_reported = |state: &netcheck_hub::state::State| {
        state.caveats().iter().any(|line| line.contains("no gateways and no httproutes"))
    };
    rig.until("that is reported", is_reported).await;
    assert_eq!(rig.hub.lock().counters.inventory_errors, 0, "and nothing is wrong");
    assert!(rig.hub.lock().inventory_error.is_none());
    // The definitions are installed.
    rig.fake.apply(gateway("192.0.2.5"));
    rig.fake.apply(route("shop.test"));
    rig.fake.faults(|faults| {
        faults.missing(Resource::Gateways, false);
        faults.missing(Resource::HttpRoutes, false);
    });
    let host = |host: &'static str| {
        move |state: &netcheck_hub::state::State| {
            let found = state.roster.frontends.get("gateway default/front");
            found.is_some_and(|of| of.sites.iter().any(|site| site.host == host))
        }
    };
    rig.until("the gateway with its route", host("shop.test")).await;
    rig.until("nothing is missing", |state| !is_reported(state)).await;
    rig.fake.apply(route("other.test"));
    rig.until("another host", host("other.test")).await;
    assert!(rig.fake.delete(Resource::HttpRoutes, "default", "shop"));
    rig.until("no route", |state| state.roster.frontends["gateway default/front"].sites.is_empty()).await;
    // They are removed, with all that there was of them.
    assert!(rig.fake.delete(Resource::Gateways, "default", "front"));
    rig.fake.faults(|faults| {
        faults.missing(Resource::Gateways, true);
        faults.cut_watches(Resource::Gateways);
    });
    rig.until("none any more", |state| state.roster.frontends.is_empty()).await;
    rig.until("reported again", |state| state.caveats().iter().any(|line| line.contains("no gateways")))
        .await;
}
