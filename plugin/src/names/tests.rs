use serde_json::{Value, json};

use super::*;

/// The records of a list of these objects, as text.
fn records(items: &[Value]) -> Vec<String> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items, "metadata": { "resourceVersion": "" } });
    let names = parse(&list.to_string()).unwrap();
    assert_eq!(names.left_out, 0);
    names.records.iter().map(|record| format!("{} {}", record.address, record.names.join(" "))).collect()
}

fn pod(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({ "kind": "Pod", "metadata": { "name": name, "namespace": "shop" }, "spec": { "nodeName": "kind-worker" },
        "status": { "phase": "Running", "hostIP": "172.18.0.2", "podIPs": addresses } })
}

fn service(name: &str, spec: &Value) -> Value {
    json!({ "kind": "Service", "metadata": { "name": name, "namespace": "shop" }, "spec": spec, "status": { "loadBalancer": {} } })
}

fn node(name: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|at| json!({ "type": "InternalIP", "address": at })).collect();
    json!({ "kind": "Node", "metadata": { "name": name }, "spec": { "podCIDR": "10.244.1.0/24" }, "status": { "addresses": addresses } })
}

#[test]
fn pods_services_and_nodes_have_names_for_both_families_in_a_fixed_order() {
    let mut items = [
        pod("web-0", &["10.244.1.7", "fd00:10::7"]),
        service("web", &json!({ "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00:96::9"] })),
        node("kind-worker", &["172.18.0.2", "fc00::2", "kind-worker"]),
    ];
    let expected = [
        "10.96.0.9 web.shop.svc",
        "10.244.1.7 web-0.shop",
        "172.18.0.2 kind-worker",
        "fc00::2 kind-worker",
        "fd00:10::7 web-0.shop",
        "fd00:96::9 web.shop.svc",
    ];
    assert_eq!(records(&items), expected);
    items.reverse();
    assert_eq!(records(&items), expected);
}

#[test]
fn a_pod_has_a_name_for_its_own_addresses_only_and_only_while_they_are_its_own() {
    let mut on_host = pod("agent", &["172.18.0.2"]);
    on_host["spec"]["hostNetwork"] = json!(true);
    let [mut succeeded, mut failed, mut old] = ["job-1", "job-2", "old"].map(|name| pod(name, &["10.244.1.8"]));
    succeeded["status"]["phase"] = json!("Succeeded");
    failed["status"]["phase"] = json!("Failed");
    old["status"] = json!({ "phase": "Running", "podIP": "10.244.1.9" });
    let pending =
        json!({ "kind": "Pod", "metadata": { "name": "new", "namespace": "shop" }, "status": { "phase": "Pending" } });
    assert_eq!(records(&[on_host, succeeded, failed, old, pending]), ["10.244.1.9 old.shop"]);
}

#[test]
fn a_service_without_a_cluster_ip_has_no_name() {
    let items = [
        service("headless", &json!({ "clusterIP": "None", "clusterIPs": ["None"] })),
        service("external", &json!({ "type": "ExternalName", "externalName": "example.com" })),
        service("pending", &json!({ "clusterIP": "" })),
        service("old", &json!({ "clusterIP": "10.96.0.1" })),
        json!({ "kind": "ConfigMap", "metadata": { "name": "c", "namespace": "shop" }, "spec": { "clusterIP": "10.96.0.2" } }),
    ];
    assert_eq!(records(&items), ["10.96.0.1 old.shop.svc"]);
}

#[test]
fn an_address_of_several_objects_has_all_their_names_once_up_to_a_bound() {
    let twice =
        [node("b", &["10.0.0.1", "::ffff:10.0.0.1"]), node("a", &["10.0.0.1"]), pod("c", &["10.0.0.1", "10.0.0.1"])];
    assert_eq!(records(&twice), ["10.0.0.1 a b c.shop"]);
    let many: Vec<Value> = (10..30).map(|number| node(&format!("n{number}"), &["10.0.0.1"])).collect();
    assert_eq!(records(&many), ["10.0.0.1 n10 n11 n12 n13 n14 n15 n16 n17"]);
}

#[test]
fn what_is_no_name_or_no_address_of_one_object_is_passed_over() {
    let long = "x".repeat(254);
    let mut items: Vec<Value> =
        ["", "\u{1b}[2J", "Web", "a b", "é", "a\0b", &long].map(|name| pod(name, &["10.0.0.1"])).into();
    let mut elsewhere = pod("web", &["10.0.0.2"]);
    elsewhere["metadata"]["namespace"] = json!("\u{7}");
    items.extend([elsewhere, json!({ "kind": "Pod" }), json!({})]);
    items.push(pod(
        "web",
        &["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "10.0.0.0/8", " 10.0.0.3", "x"],
    ));
    items.push(pod(&"y".repeat(253), &["10.0.0.4"]));
    assert_eq!(records(&items), [format!("10.0.0.4 {}.shop", "y".repeat(253))]);
}

#[test]
fn addresses_are_bounded_and_those_left_out_are_counted() {
    let list = json!({ "items": [pod("web", &["10.0.0.3", "10.0.0.1", "10.0.0.2"])] }).to_string();
    let names = parse_at_most(&list, 2).unwrap();
    let addresses: Vec<String> = names.records.iter().map(|record| record.address.to_string()).collect();
    assert_eq!((addresses, names.left_out), (vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()], 1));
}

#[test]
fn a_text_that_is_no_list_is_an_error() {
    for text in ["", "[]", "{}", "{\"items\":{}}", "{\"items\":[3]}", "Error from server", "{\"items\":[]} x"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the list of pods, Services and nodes: "), "{error}");
    }
    let deep = format!("{{\"items\":[{{\"spec\":{{\"x\":{}", "[".repeat(1 << 20));
    assert!(matches!(parse(&deep), Err(Error::Json(_))));
    let long = " ".repeat(LIST_BYTES_MAX + 1);
    assert!(matches!(parse(&long), Err(Error::TooLong(_))));
    assert_eq!(parse("{\"items\":[]}").unwrap(), Names::default());
}
