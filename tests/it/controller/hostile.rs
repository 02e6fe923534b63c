//! Pods as large as the API server allows: how much memory they cost the controller, and that other captures go on.
//!
//! etcd takes 1.5 MiB for one object, in a compact encoding. The JSON of the same object can be much larger.

use std::time::Duration;

use packet_capture::k8s::watch::PAGE_SIZE;

use crate::support::{
    api::Kind,
    node::Node,
    pod::{pod, web},
    process::{PATIENCE, forget_peak, lives, peak_kb, within},
};

/// Fields that the owner of a pod can fill.
const SPEC: &str = "/spec/imagePullSecrets";
const STATUS: &str = "/status/containerStatuses";

/// 2.7 MB of JSON from 1 MB in etcd.
const SECRETS: usize = 210_000;
/// 3 MB of JSON.
const CONTAINERS: usize = 100_000;
/// 9.4 MB from 1.5 MiB, less what the rest of the pod takes: the API server writes each `<` as six characters.
const ESCAPED: usize = 1_570_000;

fn secrets() -> String {
    format!("[{}{{}}]", r#"{"name":"a"},"#.repeat(SECRETS))
}

fn containers() -> String {
    format!("[{}{{}}]", r#"{"name":"a","restartCount":1},"#.repeat(CONTAINERS))
}

fn escaped() -> String {
    format!("\"{}\"", r"\u003c".repeat(ESCAPED))
}

/// Lists `pods` pods with the same bulk in one of their fields, then sends watch events about some of them, while another pod is captured. Returns the
/// controller's peak memory after the list and after the watch events, in kB, less the peak without the pods.
fn peaks_kb(bulk: &str, place: &str, pods: usize) -> [u64; 2] {
    let node = Node::new();
    let ready = || {
        let controller = node.start();
        let listed = || (controller.logged("pods listed; ready") > 0).then_some(());
        within(PATIENCE + Duration::from_secs(120), listed).expect("a complete list");
        controller
    };
    node.api.put(&web());
    let controller = ready();
    node.nth_start("web", 1);
    let idle_kb = peak_kb(controller.pid());
    node.crash(controller);

    node.api.bulk(bulk);
    (0..pods).for_each(|number| node.api.put(&pod(&format!("fat-{number}")).with_bulk(place)));
    let controller = ready();
    let capture = node.nth_start("web", 2);
    let list_kb = peak_kb(controller.pid());
    let pages = node.api.count(Kind::List) + node.api.count(Kind::Page);
    assert_eq!(pages, 1 + (pods + 1).div_ceil(PAGE_SIZE as usize));

    forget_peak(controller.pid());
    for label in ["a", "b", "c"] {
        node.api.put(&pod("fat-0").with_bulk(place).labelled(label));
    }
    node.api.put(&pod("late").with_bulk(place).asks("3"));
    node.nth_start("late", 1);
    assert!(lives(capture.pid));
    assert_eq!(controller.logged("cannot watch"), 0, "{}", controller.log());
    [list_kb, peak_kb(controller.pid())].map(|peak_kb| peak_kb - idle_kb)
}

#[test]
fn pods_of_many_small_parts_cost_no_more_than_a_page_of_their_text() {
    for (bulk, place) in [(secrets(), SPEC), (containers(), STATUS)] {
        let text_kb = bulk.len() as u64 / 1000;
        let [list_kb, watch_kb] = peaks_kb(&bulk, place, 4);
        println!("{text_kb} kB of JSON each; list: {list_kb} kB, watch: {watch_kb} kB");
        assert!(list_kb < 6 * text_kb && watch_kb < 6 * text_kb, "{list_kb} kB, {watch_kb} kB");
    }
}

#[test]
#[ignore = "a measurement: the memory for 110 of the largest pods, a minute without optimization"]
fn a_node_full_of_the_largest_pods_costs_no_more_than_a_few() {
    for (what, bulk) in [("parts", secrets()), ("escapes", escaped())] {
        let [list_kb, watch_kb] = peaks_kb(&bulk, SPEC, 110);
        println!("110 pods of {} kB in {what}; list: {list_kb} kB, watch: {watch_kb} kB", bulk.len() / 1000);
        assert!(list_kb < 45_000 && watch_kb < 45_000, "{list_kb} kB, {watch_kb} kB");
    }
}
